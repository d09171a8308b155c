"""docs/glossary.md explains words that are in use, each once."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "glossary.md").read_text()


def test_a_word_that_is_gone_leaves_the_glossary() -> None:
    ours = PAGE.partition("## Words of the field")[0]
    words = re.findall(r"^\| ([a-z ]+) \| .{15,} \|$", ours, re.MULTILINE)
    used = "\n".join(path.read_text() for path in (ROOT / "sidecar").rglob("*.py")).lower()
    assert len(words) == len(set(words)) == ours.count("\n| ") - 1
    unused = [word for word in words if not re.search(rf"(?<![a-z]){word}", used.replace("_", " "))]
    assert unused == []
