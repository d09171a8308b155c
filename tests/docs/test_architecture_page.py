"""docs/architecture.md names all packages and only what there is, and its example runs."""

import contextlib
import doctest
import re
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
_CODE = re.compile(r"`([\w.]+)`")
_EXAMPLE = re.compile(r"^```pycon\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the table below a heading, without its first two lines."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_map_names_every_package_and_nothing_else() -> None:
    named = [name for row in rows("The map") for name in _CODE.findall(row[0])]
    package = ROOT / "sidecar"
    found = {path.parent.name for path in package.glob("*/__init__.py")}
    found |= {path.stem for path in package.glob("*.py") if not path.stem.startswith("_")}
    assert sorted(named) == sorted(found)


def test_the_journey_names_what_there_is() -> None:
    missing = []
    for step, where, what in rows("One line's journey"):
        modules = [import_module(f"sidecar.{name}") for name in _CODE.findall(where)]
        names = _CODE.findall(what)
        missing += [(step, name) for name in names if not any(_has(one, name) for one in modules)]
    assert missing == []


def _has(module: ModuleType, name: str) -> bool:
    try:
        return callable(attrgetter(name)(module))
    except AttributeError:
        return False


def test_the_example_does_what_the_page_says() -> None:
    (example,) = _EXAMPLE.findall(PAGE)
    test = doctest.DocTestParser().get_doctest(example, {}, "architecture.md", None, None)
    with contextlib.chdir(ROOT):
        result = doctest.DocTestRunner().run(test)
    assert result.attempted > 0
    assert result.failed == 0
