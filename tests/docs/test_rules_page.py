"""Every example of docs/rules.md is loaded, and its tests, below it or in `rules/`, are run."""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from sidecar.cli.check import SCHEMAS
from sidecar.config.load import check_files
from sidecar.rules.aggregates import FUNCTIONS, Function
from sidecar.ruletest.cases import load_tests
from sidecar.ruletest.judge import judge
from sidecar.simulate.messages import MessageRenderer
from support.rules_median import MEDIAN

PAGE = (Path(__file__).parents[2] / "docs" / "rules.md").read_text()
CASES = Path(__file__).parent / "rules"
_BLOCK = re.compile(r"^```yaml(?P<test> test)?\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def cases_of(heading: str) -> str:
    """Return the tests of the example under the heading, as they stand in a file named by it."""
    name = re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")
    path = CASES / f"{name}.test.yaml"
    return path.read_text() if path.exists() else ""


def sections() -> list[tuple[str, str, str]]:
    """Return for each example its heading, its text, and the tests below it or of its file."""
    found: list[tuple[str, str, str]] = []
    for block in _BLOCK.finditer(PAGE):
        heading = _HEADING.findall(PAGE[: block.start()])[-1]
        if block["test"]:
            name, text, tests = found.pop()
            assert not tests, "two test blocks after one example"
            found.append((name, text, "rule_files: [example.rules.yaml]\n" + block["text"]))
        else:
            found.append((heading, block["text"], cases_of(heading)))
    return found


SECTIONS = sections()
TESTED = [section for section in SECTIONS if section[2]]
each_section = pytest.mark.parametrize(
    ("text", "tests"), [section[1:] for section in SECTIONS], ids=[one[0] for one in SECTIONS]
)


@each_section
def test_an_example_is_well_written(tmp_path: Path, text: str, tests: str) -> None:
    del tests
    path = tmp_path / "example.rules.yaml"
    path.write_text(text)
    assert check_files([str(path)], [], []).faults == ()


@pytest.mark.parametrize(
    ("text", "tests"), [one[1:] for one in TESTED], ids=[one[0] for one in TESTED]
)
def test_an_example_does_what_the_page_says(tmp_path: Path, text: str, tests: str) -> None:
    (tmp_path / "example.rules.yaml").write_text(text)
    path = tmp_path / "example.test.yaml"
    path.write_text(tests)
    suite = load_tests(str(path))
    renderer = MessageRenderer(suite.config)
    results = [judge(case, suite.config, renderer) for case in suite.cases]
    failures = [failure for result in results for failure in result.failures]
    assert failures == []


def test_only_the_metrics_have_no_tests() -> None:
    assert [one[0] for one in SECTIONS if one not in TESTED] == ["Metrics from events"]


def test_every_file_of_tests_is_that_of_an_example() -> None:
    used = [tests for _, _, tests in SECTIONS]
    assert [path.name for path in CASES.iterdir() if path.read_text() not in used] == []


def test_the_page_names_every_function_and_every_key() -> None:
    schema = SCHEMAS["rules"]()
    tables = (
        schema,
        *(schema["$defs"][one] for one in ("RuleGroup", "Rule", "Escalation", "Metric")),
    )
    names = {name for one in tables for name in one["properties"]} - {"resolve"}
    assert [name for name in sorted(names) if f"`{name}`" not in PAGE] == []


def rows_missing(functions: Iterable[Function]) -> list[str]:
    """Return the functions whose row, with what they give and where they go, the page lacks."""
    rows = (f"| `{one.usage}` | {one.gives} | {one.drift.name.lower()} |" for one in functions)
    return [row for row in rows if row not in PAGE]


def test_the_page_has_a_row_for_every_function() -> None:
    assert rows_missing(FUNCTIONS.values()) == []


def test_a_function_that_is_not_on_the_page_is_named() -> None:
    assert rows_missing([MEDIAN]) == ["| `median(f)` | the middle number | either |"]
