"""docs/templates.md has every name and filter, and each example gives what the page says."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sidecar.render.check import ANNOTATION_NAMES
from sidecar.render.sandbox import FILTERS
from support.templates import MESSAGE, NOTICE, VALUES, filled

PAGE = (Path(__file__).parents[2] / "docs" / "templates.md").read_text()
_ROW = re.compile(
    r"^\| `(?P<name>\w+)` \| (?P<says>.+?) \| `(?P<example>.+?)` \| (?:`(?P<gives>.*)`)? ?\|$",
    re.MULTILINE,
)
ANNOTATION = {name: NOTICE["n"][name] for name in ANNOTATION_NAMES}
# What a section lists, and what its examples are filled with.
SECTIONS: dict[str, tuple[set[str], Mapping[str, Any]]] = {
    "In a message": (set(MESSAGE), MESSAGE),
    "Of each alert": (set(NOTICE["n"]), NOTICE),
    "In an annotation": (set(ANNOTATION_NAMES), ANNOTATION),
    "Filters": (set(FILTERS), VALUES),
}


def rows(section: str) -> list[re.Match[str]]:
    text = PAGE.split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    return list(_ROW.finditer(text))


def written(cell: str) -> str:
    """Return a cell's text as it is without the table around it."""
    return cell.replace("\\|", "|")


@pytest.mark.parametrize("section", SECTIONS)
def test_it_has_all_there_are_and_each_once(section: str) -> None:
    names = [row["name"] for row in rows(section)]
    assert sorted(names) == sorted(SECTIONS[section][0])


EXAMPLES = [(section, row) for section in SECTIONS for row in rows(section)]


@pytest.mark.parametrize(
    ("section", "row"), EXAMPLES, ids=[f"{section}: {row['name']}" for section, row in EXAMPLES]
)
def test_an_example_gives_what_the_page_says(section: str, row: re.Match[str]) -> None:
    example = written(row["example"])
    assert filled(example, SECTIONS[section][1]) == written(row["gives"] or "")
    assert re.search(rf"\b{row['name']}\b", example)


def test_no_row_is_overlooked() -> None:
    tables = PAGE.split("\n## In a message\n", 1)[1]
    assert tables.count("\n| `") == len(EXAMPLES)
