"""The template environment: strict, bounded, and kind to fields with awkward names."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import process_time
from typing import Any

import pytest
from jinja2 import TemplateError, TemplateSyntaxError, UndefinedError
from jinja2.exceptions import SecurityError
from jinja2.filters import FILTERS as JINJA_FILTERS
from jinja2.tests import TESTS as JINJA_TESTS

from sidecar.receivers.slack.message import escape_slack
from sidecar.render.check import parse_template
from sidecar.render.sandbox import FILTERS, METHODS, TESTS, TemplateEnvironment, escape_html
from sidecar.syntax.faults import Wrong


def fill(source: str, environment: TemplateEnvironment | None = None, **values: Any) -> str:
    environment = environment or TemplateEnvironment()
    return environment.fill(environment.from_string(source), values)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ 3.0 }}", "3"),
        ("{{ 0.1 + 0.2 }}", "0.30000000000000004"),
        ("{{ 1500000000123.0 }}", "1500000000123"),
        ("{{ 12345678901.25 }}", "12345678901.25"),
        ("{{ 9007199254740993.0 }}", "9007199254740992"),
        ("{{ 1e16 }}", "1e+16"),
        ("{{ 0.00001 }}", "0.00001"),
        ("{{ -0.5 }}", "-0.5"),
        ("{{ 1500000000123.0 | number }}", "1,500,000,000,123"),
        ("{{ '1234.5' | number }}", "1,234.5"),
        ("{{ (10 / 3) | number(2) }}", "3.33"),
        ("{{ 'many' | number }}", "many"),
        ("{{ 1e300 | number }}", "1e+300"),
        ("{{ none | number }}", ""),
        ("{{ 4900 | money('usd') }}", "49.00 USD"),
        ("{{ -123456 | money('eur') }}", "-1,234.56 EUR"),
        ("{{ 1500 | money('JPY') }}", "1,500 JPY"),
        ("{{ 5124 | money('kwd') }}", "5.124 KWD"),
        ("{{ 500 | money('isk') }}", "5.00 ISK"),
        ("{{ 4900 | money(none) }}", "4900"),
        ("{{ 'free' | money('usd') }}", "free USD"),
        ("{{ true | money('usd') }}", "true USD"),
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


def test_a_table_has_its_items_and_no_other() -> None:
    with pytest.raises(UndefinedError, match="has no attribute 'items'"):
        fill("{{ event.items }}", event={"a": 1})
    assert fill("{{ event.get | default('none') }}", event={"a": 1}) == "none"
    assert fill("{{ event.keys is defined }}", event={"a": 1}) == "false"
    assert fill("{{ event.get('a') }} {{ event.get('b', 2) }}", event={"a": 1}) == "1 2"
    with pytest.raises(SecurityError, match="cannot use `update`"):
        fill("{{ event.update }}", event={"a": 1})


@pytest.mark.parametrize("source", ["{{ nope }}", "{{ event.nope }}", "{{ event.a.b }}"])
def test_what_is_missing_is_an_error(source: str) -> None:
    with pytest.raises(UndefinedError):
        fill(source, event={"a": {}})


_TEXT = "{% set s = 'x' * 9999 %}"
_TWICE = "{% set a = [a, a] %}"
_INCLUDES = {
    f"t{i}": f"{{% include 't{i + 1}' %}}{{% include 't{i + 1}' %}}" for i in range(40)
} | {"t40": ""}
_RUNAWAYS = {
    "a long loop": "{% for i in range(30000) %}{% endfor %}",
    "nested loops": "{% for i in range(900) %}{% for j in range(900) %}{% endfor %}{% endfor %}",
    "loops that skip all": "{% for i in range(9000) %}"
    "{% for j in range(9000) if false %}{% endfor %}{% endfor %}",
    "a macro that calls itself twice": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}"
    "{% endif %}{% endmacro %}{{ m(40) }}",
    "templates that include others twice": "{% include 't0' %}",
    "27 squarings": "{% set x = 3 %}" + "{% set x = x * x %}" * 27,
    "a huge power": "{{ 99 ** 99999 }}",
    "a huge number of a text": "{{ ('f' * 90000) | int(base=16) + 1 }}",
    "a huge text": "{{ 'x' * 10000000 }}",
    "a huge list": "{{ [0] * 10000000 }}",
    "a text joined to itself": _TEXT + "{% set s = s ~ s %}" * 20,
    "a text put between its letters": _TEXT + "{{ s.replace('', s) | length }}",
    "a text put between its letters by a filter": _TEXT + "{{ s | replace('', s) | length }}",
    "a text between letters": _TEXT + "{{ s.join(s) | length }}",
    "a text between letters by a filter": _TEXT + "{{ s | join(s) | length }}",
    "a text between letters by a map": _TEXT + "{{ [s, s] | map('join', s) | list | length }}",
    "many letters to strip": _TEXT + "{{ s | trim('y' * 9999 ~ 'x') }}",
    "ljust": "{{ 'x'.ljust(1000000000) }}",
    "zfill": "{{ 'x'.zfill(1000000000) }}",
    "center": "{{ 'x'.center(1000000000) }}",
    "expandtabs": r"{{ '\t'.expandtabs(1000000000) }}",
    "a huge format": "{{ '%99999999d' % 1 }}",
    "the method format": "{{ '{:>1000000000}'.format(1) }}",
    "the method format_map": "{{ '{a:>1000000000}'.format_map({'a': 1}) }}",
    "to_bytes": "{{ (1).to_bytes(1000000000, 'big') }}",
    "a macro fed with what it wrote": "{% macro m(s) %}{{ s }}{{ s }}{% endmacro %}"
    "{% set s = 'x' %}" + "{% set s = m(s) %}" * 30,
    "a block kept as a text": _TEXT + "{% set t %}{% for i in range(9000) %}{{ s }}{% endfor %}"
    "{% endset %}",
    "a written text kept often": "{% set t %}{% for i in range(9000) %}"
    + "y" * 9000
    + "{% endfor %}"
    "{% endset %}",
    "a list of itself, printed": "{% set a = ['x'] %}" + _TWICE * 30 + "{{ a }}",
    "lists of themselves, compared": "{% set a = ['x'] %}" + _TWICE * 30 + "{% set b = a %}"
    "{% set a = ['x'] %}" + _TWICE * 30 + "{{ a == b }}",
    "a tuple of itself as a key": "{% set a = (0, i) %}"
    + "{% set a = (a, a) %}" * 30
    + "{{ {a: 1} }}",
    "a namespace of itself": "{% set a = namespace() %}"
    + "{% set a = namespace(x=a, y=a) %}" * 30
    + "{{ a }}",
    "a namespace as a text": "{{ namespace() | string }}",
    "a list that a loop makes longer": "{% set n = namespace(l=[]) %}{% for i in range(9000) %}"
    "{% set n.l = n.l + ['x' * 999] %}{% endfor %}",
    "many copies of a list": "{% set l = [i] * 9000 %}"
    + "".join(f"{{% set l{i} = l[:] %}}" for i in range(300)),
    "a search in each turn": "{% set l = [i] * 9000 %}"
    "{% for i in range(9000) %}{% if 'x' in l %}{% endif %}{% endfor %}",
    "a test in each turn": "{% set l = [i] * 9000 %}"
    "{% for i in range(9000) %}{% if l is eq(l) %}{% endif %}{% endfor %}",
    "too much output": "{% for i in range(5000) %}{{ 'x' * 99 }}{% endfor %}",
    "a change of a value": "{{ e.update({'a': 1}) }}",
    "a look behind the scenes": "{{ e.__class__ }}",
}


@contextmanager
def no_more_than(megabytes: int) -> Iterator[None]:
    """Let this process have so much more memory; what wants more raises MemoryError."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (has + (megabytes << 20), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("name", _RUNAWAYS)
def test_what_runs_away_is_stopped(name: str) -> None:
    began = process_time()
    with no_more_than(megabytes=64), pytest.raises(SecurityError):
        fill(_RUNAWAYS[name], TemplateEnvironment(_INCLUDES), e={}, i=1)
    assert process_time() - began < 5, "it froze the daemon"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param("{{ 1.5 | round(1000000000, 'ceil') }}", "1.5", id="round"),
        pytest.param("{{ ('x ' * 99) | wordwrap(1) | length }}", "197", id="wordwrap"),
        pytest.param("{{ [{'n': 1}, {'n': 2.5}] | sum(attribute='n') }}", "3.5", id="sum"),
        pytest.param("{{ ['b', 'a'] | map('upper') | sort | join('-') }}", "A-B", id="map"),
        pytest.param(
            "{% for g in [{'k': 1}, {'k': 1}] | groupby('k') %}{{ g.list | length }}{% endfor %}",
            "2",
            id="groupby",
        ),
        pytest.param(
            "{{ ', '.join(['a', 'b']) }} {{ 'a.b'.replace('.', '-') }}", "a, b a-b", id="s"
        ),
        pytest.param("{{ 3.0 ~ 'x' ~ none }}", "3.0xNone", id="~"),
        pytest.param("{{ [] | select | list or 'none' }}", "none", id="an empty selection"),
    ],
)
def test_what_is_bounded_still_does_its_work(source: str, expected: str) -> None:
    assert fill(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        "{{ [[1], [2]] | sum(start=[]) }}",
        "{{ [1] | tojson(indent=1000000000) }}",
        "{{ 'x' | wordwrap(20, true, 'x' * 9999) }}",
    ],
)
def test_what_a_bounded_filter_does_not_take_is_an_error(source: str) -> None:
    with pytest.raises(TypeError):
        fill(source)


@pytest.mark.parametrize("name", sorted(set(JINJA_FILTERS) - set(FILTERS)))
def test_filters_that_are_not_listed_are_not_there(name: str) -> None:
    with pytest.raises(TemplateError, match="No filter named"):
        fill(f"{{{{ 'a' | {name} }}}}")


@pytest.mark.parametrize("name", sorted(set(JINJA_TESTS) - set(TESTS)))
def test_tests_that_are_not_listed_are_not_there(name: str) -> None:
    with pytest.raises(TemplateError, match="No test named"):
        fill(f"{{{{ 'a' is {name} }}}}")


@pytest.mark.parametrize(
    "kind", [str, dict, list, tuple, int, float], ids=lambda kind: kind.__name__
)
def test_methods_that_are_not_listed_are_not_there(kind: type) -> None:
    for name in dir(kind):
        if name not in METHODS.get(kind, ()):
            with pytest.raises(SecurityError, match=f"cannot use `{name}`"):
                fill(f"{{{{ v.{name}() }}}}", v=kind())


def test_a_recursive_loop_is_told_of_at_its_line() -> None:
    with pytest.raises(TemplateSyntaxError, match="cannot be `recursive`") as caught:
        fill("\n{% for i in e recursive %}{% endfor %}")
    assert caught.value.lineno == 2


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


def test_a_template_is_checked_and_compiled_in_a_time_of_its_length() -> None:
    """Jinja2 looks for constants in each part, and in each part of that."""
    began = process_time()
    assert parse_template("{{ " + "-" * 250 + "x }}")[1] == {"x"}
    assert fill("{{ " + "-" * 150 + "x }}", x=1) == "1"
    assert process_time() - began < 3


def test_a_number_of_more_digits_than_python_reads_is_a_fault_of_the_template() -> None:
    with pytest.raises(Wrong, match=r"^template: Exceeds the limit"):
        parse_template("{{ " + "9" * 5000 + " }}")
