"""What a member hands to whoever judges: what rules need, redacted, and no more."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from sidecar.batch import ReadBatch
from sidecar.config.load import load_config
from sidecar.core import NOTHING_STORED, Core
from sidecar.fleet.courier import (
    BEAT_SECONDS,
    Alone,
    Batch,
    Courier,
    Packed,
    Tallied,
    packed,
    unpacked,
)
from sidecar.parse.columns import Columns
from sidecar.parse.event import Chunk, LogFormat
from sidecar.rows import BatchRow, BeatRow
from sidecar.rules.engine import Engine
from support.setup import configure, record

RULES = """\
groups:
  - name: g
    rules:
      - alert: Failing
        match: ['status="failed"', 'plan="gold"']
        by: [org_id, contact]
        condition: count() >= 2
        within: 30d
        labels: {severity: critical}
      - alert: NoWebhooks
        match: ['webhook_provider="stripe"']
        condition: count() < 1
        within: 6h
        labels: {severity: error}
"""
NOW = 1_793_700_000.0
SECRET = "sk_live_1234567890abcd"


class Member:
    def __init__(self, folder: Path, before: BeatRow | None = None) -> None:
        (folder / "x.rules.yaml").write_text(RULES)
        config = load_config(str(configure(folder, rules="x.rules.yaml")), {})

        def courier(*rules: Any, **more: Any) -> Courier:
            return Courier(*rules, host="a", before=before, **more)

        self.core = Core(config, engine=courier)
        self.core.restore(NOTHING_STORED, NOW)
        self.now = NOW

    def step(self, *records: dict[str, object], caught_up: bool = True) -> dict[type, Any]:
        """Read these at once; return the rows of the fleet that come of it."""
        data = b"".join(json.dumps(one).encode() + b"\n" for one in records)
        chunks = [Chunk(1, "/x.log", LogFormat.AUTO, data, 0)] if records else []
        lagging = frozenset() if caught_up else frozenset(["/x.log"])
        batch = ReadBatch(chunks=chunks, caught_up=caught_up, lagging=lagging)
        rows = self.core.step(batch, self.now).delta.rows
        return {type(row): row for row in rows if isinstance(row, BatchRow | BeatRow)}


def batch_of(rows: dict[type, Any]) -> Batch:
    return unpacked(rows[BatchRow].packed)


def test_only_events_that_concern_a_rule_are_handed_over_of_others_their_number(
    tmp_path: Path,
) -> None:
    member = Member(tmp_path)
    rows = member.step(
        record("failed", plan="gold"), record("failed", plan="tin"), record("fine"), record("fine")
    )
    batch = batch_of(rows)
    assert [event.fields["plan"] for event in batch.events] == ["gold"]
    assert sum(tally.number for tally in batch.tallies) >= 3
    assert rows[BatchRow].step == rows[BeatRow].step == 1


def test_what_is_handed_over_is_redacted_and_two_hidden_keys_stay_two(tmp_path: Path) -> None:
    member = Member(tmp_path)
    batch = batch_of(
        member.step(
            record("failed", plan="gold", contact="ann@example.com", token=SECRET),
            record("failed", plan="gold", contact="amy@example.com"),
        )
    )
    whole = repr(batch)
    assert "ann@example.com" not in whole
    assert SECRET not in whole
    one, two = (event.fields["contact"] for event in batch.events)
    assert one != two
    assert one.startswith("a***@example.com~")
    assert member.core.redactor.labels("contact")[one] == one  # and stays so where it is judged


def test_an_event_bears_its_host_and_its_line(tmp_path: Path) -> None:
    (event,) = batch_of(Member(tmp_path).step(record("failed", plan="gold"))).events
    assert event.fields["sidecar_host"] == "a"
    assert event.evidence is not None
    assert event.evidence.file == "a:/x.log"
    assert '"plan": "gold"' in event.evidence.line


def test_a_beat_is_written_every_two_seconds_and_when_it_says_something_else(
    tmp_path: Path,
) -> None:
    member = Member(tmp_path)
    assert member.step()[BeatRow] == BeatRow("a", 0, NOW, caught_up=True)
    assert not member.step()
    due = member.core.next_deadline()
    assert due == NOW + BEAT_SECONDS
    member.now = due
    assert member.step()[BeatRow].reached == due
    assert not member.step(caught_up=False)[BeatRow].caught_up
    assert member.step()[BeatRow].caught_up


def test_a_wrong_clock_does_not_say_how_far_logs_are_read(tmp_path: Path) -> None:
    member = Member(tmp_path)
    assert isinstance(member.core.engine, Courier)
    member.core.engine.ahead = -3600.0
    assert member.step()[BeatRow].reached == NOW + 3600.0


def test_the_numbers_of_batches_go_on_after_a_restart(tmp_path: Path) -> None:
    member = Member(tmp_path, BeatRow("a", 7, NOW, caught_up=True))
    assert member.step(record("failed", plan="gold"))[BatchRow].step == 8


def test_a_member_that_reads_has_no_alerts_and_no_messages(tmp_path: Path) -> None:
    member = Member(tmp_path)
    member.step(*[record("failed", plan="gold")] * 5)
    assert list(member.core.engine.alerts()) == []


def test_half_a_surrogate_is_handed_over_as_a_mark() -> None:
    batch = Batch([Packed(("\ud800", "x", "y"), 1.0, {"a\udfff": ["\ud800"]})], [])
    (event,) = unpacked(packed(batch)).events
    assert event.triple == ("?", "x", "y")


def test_what_is_damaged_raises() -> None:
    whole = packed(Batch([], [Tallied(("a", "b", "c"), 3, 1.0)]))
    assert unpacked(whole).tallies[0].number == 3
    with pytest.raises(ValueError, match=r"incomplete|truncated"):
        unpacked(whole[:-3])


def test_the_host_of_an_event_is_that_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "x.rules.yaml").write_text(
        "metrics: [{name: by_host_total, help: Events., type: counter,"
        " labels: {sidecar_host: sidecar_host}}]\n"
    )
    path = configure(tmp_path, rules="x.rules.yaml")
    database = '{postgresql: {url: "postgresql://x/y"}, host: web-1}'
    path.write_text(path.read_text().replace("{path: state.db}", database))
    core = Core(load_config(str(path), {}))
    core.restore(NOTHING_STORED, NOW)
    line = json.dumps(record("failed", "org_1")).encode() + b"\n"
    chunk = Chunk(1, "/x.log", LogFormat.AUTO, line, 0, host="another")
    rows = core.step(ReadBatch(chunks=[chunk]), NOW).series
    assert '{"sidecar_host":"web-1"}' in [row.labels for row in rows]


HIDING = """\
groups:
  - name: g
    rules:
      - {alert: Failing, match: ['status="failed"'], by: [contact],
         condition: count() >= 2, within: 30d, labels: {severity: critical}}
      - {alert: Ann, match: ['contact="ann@example.com"'], by: [org_id],
         condition: count() >= 1, within: 30d, labels: {severity: critical}}
      - {alert: Token, match: ['token=~"sk_live_.*|4.*|plain"'], by: [token, org_id],
         condition: count() >= 1, within: 30d, labels: {severity: critical}}
      - {alert: Large, match: ['amount > 100'], by: [org_id],
         condition: sum(amount) > 200, within: 30d, labels: {severity: critical}}
"""
RECORDS = st.lists(
    st.fixed_dictionaries({
        "status": st.sampled_from(["failed", "fine"]),
        "org_id": st.sampled_from(["o1", "o2"]),
        "contact": st.sampled_from(["ann@example.com", "bob@example.com", "desk", "", None]),
        "token": st.sampled_from([SECRET, "plain", 5, 4111111111111111, None, {"a": [SECRET]}]),
        "amount": st.sampled_from([90, 150, 4111111111111111, "160", None]),
    }),
    min_size=1, max_size=8,
)  # fmt: skip


@given(records=RECORDS)
def test_rules_of_one_that_is_alone_see_what_those_of_several_see(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("hiding")
    (folder / "x.rules.yaml").write_text(HIDING)
    config = load_config(str(configure(folder, rules="x.rules.yaml")), {})
    lines = [{**record("", ""), **one} for one in records]
    data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    batch = ReadBatch(chunks=[Chunk(1, "/x.log", LogFormat.AUTO, data, 0)])

    def core(engine: Callable[..., Engine]) -> Core:
        made = Core(config, engine=engine)
        made.restore(NOTHING_STORED, NOW)
        return made

    alone = core(partial(Alone, host="a"))
    alone.step(batch, NOW)
    read = core(partial(Courier, host="a", before=None)).step(batch, NOW).delta.rows
    judge = core(Engine)
    for row in read:
        if isinstance(row, BatchRow):
            events = [one.event for one in unpacked(row.packed).events]
            judge.engine.observe_all(Columns.of(events), read_at=NOW)
    found = {(one.name, one.key): one for one in alone.engine.alerts()}
    assert {ident: one.value for ident, one in found.items()} == {
        (one.name, one.key): one.value for one in judge.engine.alerts()
    }
    assert {one.evidence and one.evidence.file for one in found.values()} <= {"a:/x.log"}
    assert not any(SECRET in str(one) for one in found.values())
