"""The record of decisions: what entries say, that they go on after a restart, and their bounds."""

import json
from pathlib import Path

from msgspec.structs import replace

from sidecar.notify.audit import AUDIT, Trail, instant, message_of
from sidecar.notify.mutes import Mutes, silence_row
from sidecar.notify.notifier import Notifier
from sidecar.redact import REDACTED, Redactor
from sidecar.rows import SENT, AuditRow, Delta, MetaRow
from sidecar.store.store import KEEP_AUDIT, KEEP_RECEIVED, Store
from support.notify import HOUR, MINUTE, T0, World, route, slack_receiver


def entries(trail: Trail) -> list[tuple[str, str]]:
    rows = [row for row in trail.drain() if isinstance(row, AuditRow)]
    return [(row.kind, row.detail.partition("; message")[0]) for row in rows]


def test_each_decision_about_an_alert_is_an_entry_with_its_reason() -> None:
    trail, world = Trail(), World()
    root = route("{}", "team", cooldown=10 * MINUTE, group_interval=1.0)
    receivers = {"team": slack_receiver("team", send_resolved=False)}
    notifier = Notifier(root, receivers, mutes=Mutes(), trail=trail)

    def step(now: float, *transitions: object) -> list[tuple[str, str]]:
        trail.record(transitions, [], now)  # type: ignore[arg-type] # transitions are
        notifier.add(transitions, now)  # type: ignore[arg-type] # same
        notifier.flush(now, caught_up=True, at_once=True)
        return entries(trail)

    fired = ("fired", "value 3, severity warning")
    ended = ("resolved", "value 3, severity warning")
    assert step(T0, world.fire()) == [fired, ("queued", "first notification, for team #team")]
    assert step(T0 + 60, world.end()) == [ended, ("held back", "resolved not sent, for team #team")]
    assert step(T0 + 120, world.fire()) == [
        fired,
        ("held back", f"cooldown until {instant(T0 + 600)}, for team #team"),
    ]
    assert step(T0 + 180) == []
    notifier.ack([], "ann", "on it", T0 + 200)
    row = silence_row([], T0, T0 + HOUR, by="ann", comment="", now=T0)
    notifier.silence(row)
    assert step(T0 + 600) == [
        ("acknowledged", "by ann: on it"),
        ("held back", f"silenced {row.id}, for team #team"),
    ]
    assert step(T0 + HOUR) == [("queued", "no longer muted, for team #team")]


def test_what_waits_for_its_groups_next_message_says_until_when() -> None:
    trail, world = Trail(Redactor()), World()
    by = ("alertname",)
    root = route("{}", "team", group_by=by, group_wait=30.0, group_interval=5 * MINUTE)
    notifier = Notifier(root, {"team": slack_receiver("team")}, trail=trail)

    def waits(org: str) -> list[tuple[float, str, str]]:
        mine = [one.told({}) for one in notifier.waits() if one.alert.labels.get("org") == org]
        return [(told["at"], told["kind"], told["detail"]) for told in mine]

    def step(now: float, *transitions: object) -> None:
        notifier.add(transitions, now)  # type: ignore[arg-type] # transitions are
        notifier.flush(now, caught_up=True)

    step(T0, world.fire("a"))
    wait = f"group_wait until {instant(T0 + 30)}, for team #team"
    assert (waits("a"), waits("b")) == ([(T0, "waits", wait)], [])
    step(T0 + 30)
    assert waits("a") == []  # it is on its way
    (message,) = notifier.drain().outbox
    notifier.end(replace(message, outcome=SENT), T0 + 31)
    step(T0 + 60, world.fire("b"))
    interval = f"group_interval until {instant(T0 + 331)}, for team #team"
    assert (waits("a"), waits("b")) == ([], [(T0 + 60, "waits", interval)])


def test_an_entry_of_a_message_names_it() -> None:
    trail = Trail()
    notifier = Notifier(route("{}", "team"), {"team": slack_receiver("team")}, trail=trail)
    notifier.add([World().fire()], T0)
    notifier.flush(T0, caught_up=True)
    (message,) = notifier.drain().outbox
    (row,) = [row for row in trail.drain() if isinstance(row, AuditRow)]
    assert message_of(row) == message.id


def test_labels_are_redacted() -> None:
    trail = Trail(Redactor())
    trail.note(T0, "fired", {"org": "sk_live_NotARealKey0123456789"}, "")
    row = trail.drain()[0]
    assert isinstance(row, AuditRow)
    assert json.loads(row.subject) == {"org": REDACTED}


def test_numbers_go_on_after_a_restart_and_nothing_is_written_where_nothing_happened() -> None:
    trail = Trail()
    trail.note(T0, "fired", {}, "")
    assert trail.drain()[-1] == MetaRow(AUDIT, "1")
    assert trail.drain() == []
    after = Trail()
    after.restore("1")
    after.note(T0, "fired", {}, "")
    row = after.drain()[0]
    assert isinstance(row, AuditRow)
    assert row.seq == 2


def test_the_record_is_bounded_by_age_and_by_number(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "state.db"))
    old = AuditRow(1, T0 - KEEP_RECEIVED - 1, "fired", "{}", "")
    young = AuditRow(2, T0 - KEEP_RECEIVED + 1, "fired", "{}", "")
    last = AuditRow(3, T0, "fired", "{}", "")
    store.commit(Delta(rows=[old, young, last]))
    assert store.audit(T0 - 1) == [last]
    store.purge(T0)
    assert store.audit(0.0) == [young, last]
    newest = AuditRow(2 + KEEP_AUDIT, T0, "fired", "{}", "")
    store.commit(Delta(rows=[newest]))
    store.purge(T0)
    assert store.audit(0.0) == [last, newest]
    store.close()
