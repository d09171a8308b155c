"""Which names are rotated forms of which log."""

from typing import NamedTuple

import pytest

from sidecar.read.names import live_names, may_be_moved, oldest_first, rank, shape


@pytest.mark.parametrize(
    ("name", "live"),
    [
        ("app.log.1", "app.log"),
        ("app.log.12.gz", "app.log"),
        ("app.log-20240131", "app.log"),
        ("app.log-20240131.gz", "app.log"),
        ("app.log.2024-01-31_12-00", "app.log"),
        ("app.log.old", "app.log"),
        ("app.log.1.bak", "app.log"),
        ("app.log.12.bak.gz", "app.log"),
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


class Named(NamedTuple):
    path: str
    mtime_ns: int


@pytest.mark.parametrize(
    "names",
    [
        ["app.log.10.gz", "app.log.9.xz", "app.log.2", "app.log.1"],
        ["app.log-20240130", "app.log-20240131.zst", "app.log-20240201"],
        ["app-2024-01-31.1.log", "app-2024-01-31.2.log.bz2", "app-2024-01-31.10.log"],
        ["app.10.log.gz", "app.2.log", "app.1.log"],
        ["app.log.20240131-080000.gz", "app.log.20240131-120000"],
    ],
)
def test_older_names_come_first_whatever_their_times(names: list[str]) -> None:
    lying = [Named(f"/var/log/{name}", -number) for number, name in enumerate(names)]
    assert oldest_first(reversed(lying), "/var/log/app.log") == lying


def test_names_that_do_not_compare_come_by_their_times() -> None:
    files = [Named("app.log.old", 1), Named("app.log.1", 2), Named("app.log-20240101", 3)]
    assert oldest_first(reversed(files), "app.log") == files


def test_a_name_says_its_age_only_as_a_form_of_its_log() -> None:
    assert rank("app.log", "app.log.2") == ("counter", (-2,))
    assert rank("app.log", "app-20240131.log.1") == ("date", (20240131,))
    assert rank("app-20240131.log", "app-20240131.log.1") == ("counter", (-1,))
    assert rank("web.log", "app.log.2") is None
    assert rank("app.log", "app.log.old") is None


def test_names_of_one_series_have_one_shape() -> None:
    assert shape("saved-2024-01-31.gz") == shape("saved-2024-02-01") == "saved-#-#-#"
    assert not shape("saved.gz")


@pytest.mark.parametrize(
    ("name", "near"),
    [("app.1.log", True), ("app.log.saved", True), ("app.log.swp", False), ("web.log", False)],
)
def test_only_near_names_are_worth_comparing(name: str, near: bool) -> None:  # noqa: FBT001
    assert may_be_moved("app.log", name) is near
