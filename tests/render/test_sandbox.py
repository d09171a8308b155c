"""The template environment: strict, bounded, and kind to fields with awkward names."""

from typing import Any

import pytest
from jinja2 import TemplateError, UndefinedError
from jinja2.exceptions import SecurityError

from sidecar.receivers.slack.message import escape_slack
from sidecar.render.sandbox import TemplateEnvironment, escape_html


def fill(source: str, environment: TemplateEnvironment | None = None, **values: Any) -> str:
    environment = environment or TemplateEnvironment()
    return environment.fill(environment.from_string(source), values)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ 3.0 }}", "3"),
        ("{{ 0.1 + 0.2 }}", "0.3"),
        ("{{ none }}", ""),
        ("{{ true }}", "true"),
        ("{{ 1793606400 | utc }}", "2026-11-02 08:00:00 UTC"),
        ("{{ 1e20 | utc }}", "1e+20 s after 1970"),
        ("{{ none | utc }}", ""),
        ("{{ 3900 | duration }}", "1h 5m"),
        ("{{ 3600 | duration }}", "1h"),
        ("{{ 90061 | duration }}", "1d 1h"),
        ("{{ 0.2 | duration }}", "0s"),
        ("{{ 2 ** 10 }}", "1024"),
        ("{{ 'a' + 'b' }}", "ab"),
        ("{{ 7 % 4 }}", "3"),
        ("{{ 'a\n b' | one_line }}", "a b"),
        ("{{ 'a' | pad(3) }}|", "a  |"),
        ("{{ missing | default('x') }}", "x"),
        ("{% for i in range(3) %}{{ loop.index }}{% endfor %}", "123"),
    ],
)
def test_values_read_well(source: str, expected: str) -> None:
    assert fill(source) == expected


def test_a_field_named_like_a_method_is_the_field() -> None:
    assert fill("{{ event.items }} {{ event.get }}", event={"items": 3, "get": "x"}) == "3 x"


def test_the_method_is_there_where_no_field_hides_it() -> None:
    assert fill("{% for k, v in e.items() %}{{ k }}={{ v }}{% endfor %}", e={"a": 1}) == "a=1"


@pytest.mark.parametrize("source", ["{{ nope }}", "{{ event.nope }}", "{{ event.a.b }}"])
def test_what_is_missing_is_an_error(source: str) -> None:
    with pytest.raises(UndefinedError):
        fill(source, event={"a": {}})


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("{% for i in range(30000) %}{% endfor %}", id="a long loop"),
        pytest.param(
            "{% for i in range(900) %}{% for j in range(900) %}{% endfor %}{% endfor %}",
            id="nested loops",
        ),
        pytest.param(
            "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}"
            "{{ m(40) }}",
            id="a macro that calls itself twice",
        ),
        pytest.param("{{ 'x' * 10000000 }}", id="a huge text"),
        pytest.param("{{ [0] * 10000000 }}", id="a huge list"),
        pytest.param("{{ 99 ** 99999 }}", id="a huge power"),
        pytest.param("{{ '%99999999d' % 1 }}", id="a huge format"),
        pytest.param("{% for i in range(5000) %}{{ 'x' * 99 }}{% endfor %}", id="too much output"),
        pytest.param("{{ e.update({'a': 1}) }}", id="a change of a value"),
        pytest.param("{{ e.__class__ }}", id="a look behind the scenes"),
    ],
)
def test_what_runs_away_is_stopped(source: str) -> None:
    with pytest.raises(SecurityError):
        fill(source, e={})


@pytest.mark.parametrize("name", ["center", "format", "indent", "pprint"])
def test_filters_that_nothing_bounds_are_not_there(name: str) -> None:
    with pytest.raises(TemplateError, match="No filter named"):
        fill(f"{{{{ 'a' | {name} }}}}")


@pytest.mark.parametrize(
    ("escaping", "expected"),
    [(None, "<&'"), (escape_slack, "&lt;&amp;'"), (escape_html, "&lt;&amp;&#39;")],
)
def test_values_are_escaped_for_where_they_go(escaping: Any, expected: str) -> None:
    environment = TemplateEnvironment({"m": "{% macro m(v) %}{{ v }}{% endmacro %}"}, escaping)
    assert fill("{{ v }}", environment, v="<&'") == expected
    assert fill("{% import 'm' as m %}{{ m.m(v) }}", environment, v="<&'") == expected


def test_each_filling_has_its_own_bound() -> None:
    environment = TemplateEnvironment()
    template = environment.from_string("{% for i in range(15000) %}{% endfor %}ok")
    assert [environment.fill(template, {}) for _ in range(3)] == ["ok"] * 3
