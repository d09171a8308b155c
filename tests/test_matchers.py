import pytest

from sidecar.matchers import Matcher

TRACEBACK = "Traceback (most recent call last):\n  File app.py\nhttpx.ReadTimeout: timeout"


@pytest.mark.parametrize(
    ("matcher", "passes"),
    [
        (Matcher("error", "=~", ".*timeout.*"), True),
        (Matcher("error", "!~", ".*timeout.*"), False),
        (Matcher("error", "=~", "timeout"), False),
        (Matcher("error", "=~", "Traceback.+"), True),
        (Matcher("error", "=~", "(?-s:.*)timeout"), False),
    ],
    ids=str,
)
def test_a_dot_matches_a_line_break(matcher: Matcher, *, passes: bool) -> None:
    assert matcher.matches(TRACEBACK) is passes
