"""docs/formats.md: its table is made from the samples, and its patterns take its lines."""

import base64
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from sidecar.parse.event import Event
from sidecar.parse.parser import Parser
from sidecar.parse.patterns import Pattern
from sidecar.parse.taking import Taking
from support.parse import NOW, SAMPLES, chunk_of, everything, parse

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"
_TABLE = re.compile(
    r"(<!-- made by [^\n]*\n\| logger or form [^\n]*\n\|[-|]*\n)(.*?)(<!-- end -->)", re.DOTALL
)
# The fields of the samples, however they are written.
_FIELDS = re.compile(
    r"""(?:attempt_count|metric_type|webhook_provider)\W.*(?:attempt_count|status|webhook_provider)[^}\])]*"""
)
_LONGEST = 110


def _rows() -> Iterator[str]:
    samples = map(json.loads, (SAMPLES / "formats.jsonl").read_text().splitlines())
    for one in sorted(samples, key=lambda one: one["title"].lower()):
        data = base64.b64decode(one["base64"]) if "base64" in one else one["text"].encode()
        parsed = parse(data)
        odd = (parsed.rejects, parsed.foreign, parsed.obscure)
        said = sorted({str(line.reason) for lines in odd for line in lines})
        read = f"{len(parsed.events)}" + (f" ({', '.join(said)})" if said else "")
        yield f"| {one['title']} | `{_shown(data)}` | {read} |\n"


def _shown(data: bytes) -> str:
    line = data.split(b"\n")[0].decode("utf-8", "replace")
    shown = _FIELDS.sub("…", line)
    shown = "".join(letter if letter.isprintable() else " " for letter in shown)
    shown = shown.replace("|", "¦").replace("`", "'")
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"


def test_the_table_is_what_is_read() -> None:
    page = PAGE.read_text()
    found = _TABLE.search(page)
    assert found is not None
    rows = "".join(_rows())
    if os.environ.get("REWRITE"):
        PAGE.write_text(page[: found.start(2)] + rows + page[found.end(2) :])
    else:
        assert found[2] == rows


def _blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text(), re.DOTALL)


def _patterns() -> list[Pattern]:
    found = []
    for block in _blocks("yaml"):
        for one in yaml.safe_load(block).get("patterns", []):
            for form in {"json", "logfmt"} & one.keys():
                where = {name: (text,) for name, text in one[form]["where"].items()}
                one[form] = Taking(where=where, take=one[form]["take"])
            found.append(Pattern(**one))
    return found


def _event(line: str) -> Event:
    chunk = chunk_of(line + "\n")
    (event,) = Parser(_patterns()).parse(chunk, now=NOW, wanted=everything).events
    return event


def test_its_patterns_take_its_lines() -> None:
    (line,) = _blocks("json")
    event = _event(line.strip())
    assert event.triple == ("paddle", "subscription.past_due", "processing_error")
    assert (event.text("org_id"), event.at) == ("ctm_7", 1_795_585_800.0)
    (pairs,) = re.findall(r"^`(level=[^`]*)` takes", PAGE.read_text(), re.MULTILINE)
    assert _event(pairs).triple == ("unknown", "past_due", "error")
    assert _event("order 7 is lost").triple == ("unknown", "order", "lost")
