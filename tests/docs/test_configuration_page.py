"""The tables of docs/configuration.md say what the declarations say: key, default, meaning."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from sidecar.config.settings import settings_of
from sidecar.config.sources import SignedWebhook, Source, StripeApi, StripeWebhook
from sidecar.notify.model import Route
from sidecar.notify.mutes import InhibitRule, TimeInterval, TimeSpan
from sidecar.parse.patterns import Pattern
from sidecar.receivers import KINDS
from sidecar.receivers.proxy import HttpConfig
from sidecar.redact import RedactPolicy
from sidecar.syntax.table import Declared, ListOf, Nested, Reading, Table, declared
from sidecar.syntax.tree import compose

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
_HEADING = re.compile(r"^#+ `?([\w ]+)`?$", re.MULTILINE)
_ROW = re.compile(r"^\| `(.+?)` \| (.*?) \| (.*?) \|$", re.MULTILINE)
SETTINGS = settings_of(KINDS)
SECTIONS: dict[str, type[Table]] = {
    "Top level": SETTINGS,
    "sources": Source,
    "stripe_api": StripeApi,
    "stripe_webhook": StripeWebhook,
    "signed_webhook": SignedWebhook,
    "redact": RedactPolicy,
    "global": declared(SETTINGS)["global"].hint,
    "route": Route,
    "inhibit_rules": InhibitRule,
    "time_intervals": TimeInterval,
    "Times": TimeSpan,
    "receivers": get_args(declared(SETTINGS)["receivers"].hint)[0],
    **{kind.section: kind.config for kind in KINDS},
    "http_config": HttpConfig,
    "Pattern files": Pattern,
}
WORDS: dict[str, tuple[Any, ...]] = {
    "none": (None, "", (), {}, ("", 0)),
    "shipped template": (None,),
    "those in `rules/`": ((),),
}
FALLBACKS = {
    one.key.global_: one
    for kind in KINDS
    for one in declared(kind.config).values()
    if one.key.global_
}

Row = tuple[str, str, str]


def table_of(one: Declared) -> type[Table] | None:
    """Return the table that a key holds, or a list of."""
    shape = one.shape.item if isinstance(one.shape, ListOf) else one.shape
    return shape.table() if isinstance(shape, Nested) else None


def keys(
    kind: type[Table], before: str = "", base: Any = None
) -> Iterator[tuple[str, Declared, Any]]:
    """Yield path, declaration and default; a table without a section of its own is opened here."""
    for name, one in declared(kind).items():
        inner = table_of(one)
        default = one.default if base is None else getattr(base, one.field)
        if inner is None or inner in SECTIONS.values() or isinstance(one.shape, ListOf):
            yield before + name, one, default
        else:
            yield from keys(inner, f"{before}{name}.", default)


def rows(section: str) -> list[Row]:
    """Return the rows of the table under a heading."""
    text = PAGE.read_text()
    begin = next(found.end() for found in _HEADING.finditer(text) if found[1] == section)
    following = re.compile(r"^#", re.MULTILINE).search(text, begin)
    return [
        (found[1], found[2], found[3])
        for found in _ROW.finditer(text[begin : following and following.start()])
    ]


def says(cell: str, one: Declared, default: Any) -> bool:
    """Tell whether a cell gives the default: a word, or what one would write to the same effect."""
    if one.required:
        return cell == "required"
    if one.key.global_:
        return cell == "`global`"
    fallback = FALLBACKS.get(one.name)
    default = default if fallback is None or default is not None else fallback.default
    written = re.fullmatch("`(.*)`", cell)
    if written is None:
        is_table = isinstance(one.shape, Nested) and table_of(one) in SECTIONS.values()
        return cell == "below" if is_table else default in WORDS[cell]
    reading = Reading()
    node = compose(written[1], "page", reading.faults)
    assert node is not None
    shape = one.shape if fallback is None else fallback.shape
    found = shape.read(node, reading, default)
    return bool(found == default) and not reading.faults.all


@pytest.mark.parametrize("section", SECTIONS)
def test_a_table_lists_the_declared_keys_with_their_meaning(section: str) -> None:
    declarations = [(path, one.key.doc) for path, one, _ in keys(SECTIONS[section])]
    assert [(path, meaning) for path, _, meaning in rows(section)] == declarations


@pytest.mark.parametrize("section", SECTIONS)
def test_a_default_is_the_declared_one(section: str) -> None:
    defaults = dict(zip(rows(section), keys(SECTIONS[section]), strict=True))
    wrong = [row for row, (_, one, default) in defaults.items() if not says(row[1], one, default)]
    assert wrong == []


def test_every_table_of_the_page_is_held_against_a_declaration() -> None:
    assert sum(len(rows(section)) for section in SECTIONS) == len(_ROW.findall(PAGE.read_text()))


def test_each_key_stands_in_one_of_the_three_parts() -> None:
    text = PAGE.read_text()
    part = text.partition("## Which keys, when")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (?!when|-)[\w ]+ \| (.*) \|$", part, re.MULTILINE)
    parted = [key for row in rows for key in re.findall(r"`([\w.]+)`", row)]
    top = text.partition("## Top level")[2].partition("\n### ")[0]
    listed = [re.sub(r"(tls_server_config)\..*", r"\1", key) for key, _, _ in _ROW.findall(top)]
    assert len(rows) == 3
    assert sorted(parted) == sorted(set(listed))
