"""In which order the events of hosts are judged, and who is waited for."""

from math import inf

from hypothesis import given, strategies as st

from sidecar.fleet.order import (
    FORGOTTEN_SECONDS,
    SILENT_SECONDS,
    WAIT_SECONDS,
    Host,
    held_from,
    in_order,
)

QUEUES = st.dictionaries(st.sampled_from("abc"), st.lists(st.floats(0.0, 100.0), max_size=8))


def host(name: str = "a", *, age: float = 0.0, here: bool = True, **more: object) -> Host:
    known = {"judged": None, "at_hand": None, "complete": False, "behind": 0.0}
    return Host(name, age, here, **{**known, **more})  # type: ignore[arg-type]  # as the test says


def merged(queues: dict[str, list[float]], until: float = inf, live: float = inf) -> list[float]:
    taken = in_order(queues, lambda at: at, until=until, live=live, most=100)
    return [at for _, at in taken]


def test_events_of_all_hosts_come_in_the_order_of_time() -> None:
    assert merged({"a": [1.0, 4.0], "b": [2.0, 3.0], "c": []}) == [1.0, 2.0, 3.0, 4.0]


def test_one_host_s_own_order_stays_and_what_is_late_there_counts_as_late() -> None:
    assert merged({"a": [5.0, 1.0], "b": [4.0, 6.0]}) == [4.0, 5.0, 1.0, 6.0]


@given(queues=QUEUES, until=st.floats(0.0, 100.0), most=st.integers(0, 30))
def test_of_each_host_its_first_ones_are_taken_and_no_more_than_asked_for(
    queues: dict[str, list[float]], until: float, most: int
) -> None:
    taken = in_order(queues, lambda at: at, until=until, live=inf, most=most)
    assert len(taken) <= most
    for name, queue in queues.items():
        mine = [at for host, at in taken if host == name]
        assert mine == queue[: len(mine)]
        assert all(at <= until for at in mine)
    if len(taken) < most:
        for name, queue in queues.items():
            left = queue[len([1 for host, _ in taken if host == name]) :]
            assert not left or max(queue[: len(queue) - len(left) + 1]) > until


def test_what_is_old_waits_for_one_that_catches_up_and_what_is_new_does_not() -> None:
    assert merged({"a": [1.0, 30.0], "b": [90.0]}, until=10.0, live=80.0) == [1.0, 90.0]


def test_nothing_waits_for_hosts_of_which_all_has_come() -> None:
    assert held_from([host(at_hand=inf)]) == inf


def test_old_events_wait_for_the_one_that_is_furthest_behind() -> None:
    assert held_from([host(at_hand=inf), host(at_hand=7.0), host(at_hand=9.0)]) == 7.0


def test_nobody_waits_for_one_that_is_behind_for_long_or_silent_or_gone_or_knows_no_time() -> None:
    assert held_from([host(at_hand=7.0, behind=WAIT_SECONDS)]) == inf
    assert held_from([host(at_hand=7.0, age=SILENT_SECONDS)]) == inf
    assert held_from([host(at_hand=7.0, here=False)]) == inf
    assert held_from([host(at_hand=None)]) == inf


def test_a_host_is_silent_after_a_minute_unless_it_stopped_in_order_or_is_long_gone() -> None:
    assert not host(age=SILENT_SECONDS - 1).silent
    assert host(age=SILENT_SECONDS).silent
    assert not host(age=SILENT_SECONDS, here=False).silent
    assert not host(age=FORGOTTEN_SECONDS).silent
