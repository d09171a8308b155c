"""Two replays held against each other."""

from msgspec.structs import replace as with_

from sidecar.simulate.messages import Copy, Message, ToldAlert, difference

ONE = ToldAlert(
    at=100.0,
    alert="A",
    labels={"alertname": "A", "org": "a", "severity": "warning"},
    state="firing",
    severity="warning",
    receiver="team",
    reason="first notification",
    late=False,
    annotations={"summary": "one"},
)


def message(*told: ToldAlert, text: str = "text") -> Message:
    first = told[0]
    return Message(
        at=first.at,
        receiver=first.receiver,
        reason=first.reason,
        group="g",
        late=False,
        told=told,
        copies=(Copy("slack", "#team", "", text),),
    )


def kinds(before: list[Message], after: list[Message]) -> list[tuple[str, tuple[str, ...]]]:
    return [(change.kind, change.fields) for change in difference(before, after)]


def test_equal_replays_differ_in_nothing() -> None:
    assert kinds([message(ONE)], [message(ONE)]) == []


def test_what_only_the_new_one_tells_is_added() -> None:
    (change,) = difference([], [message(ONE)])
    assert (change.kind, change.before, change.after) == ("added", None, ONE)


def test_what_only_the_old_one_tells_is_removed() -> None:
    (change,) = difference([message(ONE)], [])
    assert (change.kind, change.told) == ("removed", ONE)


def test_another_time_is_a_change_and_no_pair_of_others() -> None:
    later = with_(ONE, at=200.0)
    assert kinds([message(ONE)], [message(later)]) == [("changed", ("at",))]


def test_another_severity_is_a_change() -> None:
    graver = with_(ONE, severity="critical", labels={**ONE.labels, "severity": "critical"})
    assert kinds([message(ONE)], [message(graver)]) == [("changed", ("severity",))]


def test_other_words_of_the_alert_are_a_change() -> None:
    reworded = with_(ONE, annotations={"summary": "two"})
    assert kinds([message(ONE)], [message(reworded)]) == [("changed", ("annotations",))]


def test_another_receiver_is_told_anew() -> None:
    other = with_(ONE, receiver="other")
    assert sorted(kinds([message(ONE)], [message(other)])) == [("added", ()), ("removed", ())]


def test_other_words_of_the_message_are_a_change_of_its_text() -> None:
    before, after = [message(ONE)], [message(ONE, text="other")]
    assert kinds(before, after) == [("changed", ("text",))]


def test_one_more_repeat_leaves_the_others_alone() -> None:
    repeats = [message(with_(ONE, at=at, reason="repeat interval elapsed")) for at in (1, 2, 3)]
    (change,) = difference([repeats[0], repeats[2]], repeats)
    assert (change.kind, change.told.at) == ("added", 2)


def test_what_is_told_otherwise_is_held_against_the_nearest_in_time() -> None:
    def at(*times: float) -> list[Message]:
        return [message(with_(ONE, at=at)) for at in times]

    def pairs(then: list[Message], now: list[Message]) -> list[tuple[float | None, float | None]]:
        sides = [(one.before, one.after) for one in difference(then, now)]
        return [
            (None if old is None else old.at, None if new is None else new.at) for old, new in sides
        ]

    assert pairs(at(50), at(10, 51, 90)) == [(None, 10), (50, 51), (None, 90)]
    assert pairs(at(10, 51, 90), at(50)) == [(10, None), (51, 50), (90, None)]
    assert pairs(at(1, 2), at(3, 50)) == [(1, 3), (2, 50)]
    assert pairs(at(80, 90), at(10, 20, 30)) == [(None, 10), (80, 20), (90, 30)]


def test_changes_come_in_the_order_of_time() -> None:
    told = [with_(ONE, at=at, labels={**ONE.labels, "org": str(at)}) for at in (3.0, 1.0, 2.0)]
    found = difference([], [message(one) for one in told])
    assert [change.told.at for change in found] == [1.0, 2.0, 3.0]
