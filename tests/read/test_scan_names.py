"""Which names are rotated forms of which log."""

import pytest

from sidecar.read.scan import age_rank, live_names, may_be_moved


@pytest.mark.parametrize(
    ("name", "live"),
    [
        ("app.log.1", "app.log"),
        ("app.log.12.gz", "app.log"),
        ("app.log-20240131", "app.log"),
        ("app.log-20240131.gz", "app.log"),
        ("app.log.2024-01-31_12-00", "app.log"),
        ("app.log.old", "app.log"),
        ("app-20240131.log", "app.log"),
        ("app-2024-01-31.log.gz", "app.log"),
        ("app-2024-01-31T10-00-00.000.log", "app.log"),
        ("0.log.20240131-120000.gz", "0.log"),
        ("worker-1.log.2", "worker-1.log"),
    ],
)
def test_a_rotated_name_tells_its_log(name: str, live: str) -> None:
    assert live in live_names(name)


@pytest.mark.parametrize("name", ["app.log", "app-1.log", "app.log.err", "app.log.swp", "0.log"])
def test_other_names_tell_none(name: str) -> None:
    assert not live_names(name)


def test_older_names_sort_first() -> None:
    by_number = ["app.log.10.gz", "app.log.2", "app.log.1", "app.log"]
    by_date = ["app.log-20240130", "app.log-20240131", "app.log"]
    assert sorted(by_number, key=age_rank) == by_number
    assert sorted(by_date, key=age_rank) == by_date


@pytest.mark.parametrize(
    ("name", "near"),
    [("app.1.log", True), ("app.log.saved", True), ("app.log.swp", False), ("web.log", False)],
)
def test_only_near_names_are_worth_comparing(name: str, near: bool) -> None:  # noqa: FBT001
    assert may_be_moved("app.log", name) is near
