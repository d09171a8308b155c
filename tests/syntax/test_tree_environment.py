"""Expansion of variables."""

import pytest

from sidecar.syntax.tree import ExpansionError, expand

ENVIRON = {"NAME": "value", "EMPTY": "", "NESTED": "${NAME} $$"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("plain", "plain", id="nothing to expand"),
        pytest.param("${NAME}", "value", id="a variable"),
        pytest.param("a-${NAME}-b", "a-value-b", id="inside a text"),
        pytest.param("${NAME:-other}", "value", id="a default that is not needed"),
        pytest.param("${NOT_SET:-other}", "other", id="a default that is"),
        pytest.param("${EMPTY:-other}", "other", id="empty takes the default, as in a shell"),
        pytest.param("${EMPTY}", "", id="empty without default"),
        pytest.param("${NOT_SET:-}", "", id="an empty default"),
        pytest.param("${NOT_SET:-/var/log/*.log}", "/var/log/*.log", id="a default with slashes"),
        pytest.param("$$", "$", id="two dollars are one"),
        pytest.param("$${NAME}", "${NAME}", id="an escaped variable"),
        pytest.param("$$${NAME}", "$value", id="a dollar before a variable"),
        pytest.param("^a$", "^a$", id="a lone dollar stays"),
        pytest.param("$NAME", "$NAME", id="braces are needed"),
        pytest.param("${NESTED}", "${NAME} $$", id="a value is not expanded again"),
    ],
)
def test_expand(text: str, expected: str) -> None:
    assert expand(text, ENVIRON) == expected


@pytest.mark.parametrize(
    ("text", "offset", "message"),
    [
        pytest.param("a ${NOT_SET}", 2, "environment variable NOT_SET is not set", id="not set"),
        pytest.param("${NAME", 0, "`${` does not begin a variable", id="not closed"),
        pytest.param("ab${1x}", 2, "`${` does not begin a variable", id="not a name"),
        pytest.param("${}", 0, "`${` does not begin a variable", id="no name"),
    ],
)
def test_what_cannot_be_expanded_is_reported_where_it_stands(
    text: str, offset: int, message: str
) -> None:
    with pytest.raises(ExpansionError) as caught:
        expand(text, ENVIRON)
    assert (caught.value.offset, str(caught.value)) == (offset, message)
