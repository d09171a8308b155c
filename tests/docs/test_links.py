"""Every link from one of our pages to another leads somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob(".github/**/*.md")])
_CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_FILE = re.compile(r"`((?:sidecar|tests|docs|rules|grafana|\.ci|\.github)/[a-z0-9_./-]+)`")


def anchors(page: Path) -> set[str]:
    """Return the names that a page's headings have as targets: GitHub's rule."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading) for heading in _HEADING.findall(text)]
    return {heading.strip().lower().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_links_only_to_what_is_there(page: Path) -> None:
    astray = []
    for path, anchor in _LINK.findall(_CODE.sub("", page.read_text())):
        if path.startswith(("http://", "https://", "mailto:")):
            continue
        target = page.parent / path if path else page
        known = target.exists() and (not anchor or anchor in anchors(target))
        astray += [] if known else [f"{path}#{anchor}"]
    assert astray == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_only_files_of_ours_that_are_there(page: Path) -> None:
    """What holds a placeholder in capitals or a pattern is passed over."""
    named = set(_FILE.findall(page.read_text()))
    assert {name for name in named if not (ROOT / name).exists()} == set()
