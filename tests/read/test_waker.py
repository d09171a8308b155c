"""The early wake-up, and that it never does harm."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.read.waker import Waker


class Bell:
    def __init__(self) -> None:
        self.rang = threading.Event()

    def __call__(self) -> None:
        self.rang.set()


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def waker(tmp_path: Path, bell: Bell) -> Iterator[Waker]:
    waker = Waker([str(tmp_path)], bell)
    waker.start()
    yield waker
    waker.stop()


def test_a_write_wakes(tmp_path: Path, waker: Waker, bell: Bell) -> None:
    assert waker.alive
    (tmp_path / "app.log").write_bytes(b"line\n")
    assert bell.rang.wait(10)


def test_reading_does_not_wake(tmp_path: Path, bell: Bell) -> None:
    (tmp_path / "app.log").write_bytes(b"line\n")
    waker = Waker([str(tmp_path)], bell)
    waker.start()
    (tmp_path / "app.log").read_bytes()
    assert list(tmp_path.iterdir())
    assert not bell.rang.wait(0.3)
    waker.stop()


def test_of_configuration_only_what_is_closed_wakes(tmp_path: Path, bell: Bell) -> None:
    (tmp_path / "sidecar.yaml").write_bytes(b"a: 1\n")
    waker = Waker([str(tmp_path)], bell, growing=False)
    waker.start()
    with (tmp_path / "sidecar.yaml").open("ab", buffering=0) as out:
        out.write(b"b: 2\n")
        assert not bell.rang.wait(0.3)
    assert bell.rang.wait(10)
    waker.stop()


def test_nobody_wakes_while_nothing_is_watched(tmp_path: Path, waker: Waker, bell: Bell) -> None:
    waker.watch(())
    (tmp_path / "app.log").write_bytes(b"line\n")
    assert not bell.rang.wait(0.3)
    waker.watch([str(tmp_path)])
    (tmp_path / "app.log").write_bytes(b"another\n")
    assert bell.rang.wait(10)


def test_a_directory_that_appears_later_is_watched_from_then(
    tmp_path: Path, waker: Waker, bell: Bell
) -> None:
    later = tmp_path / "later"
    waker.watch([str(later)])
    assert not waker.alive
    later.mkdir()
    waker.watch([str(later)])
    assert waker.alive
    bell.rang.clear()
    (later / "app.log").write_bytes(b"line\n")
    assert bell.rang.wait(10)


def test_a_directory_deleted_and_made_again_is_watched_again(
    tmp_path: Path, waker: Waker, bell: Bell
) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    waker.watch([str(logs)])
    logs.rmdir()
    give_up_at = time.monotonic() + 10
    while waker.alive and time.monotonic() < give_up_at:
        pass  # watchdog's thread for it ends by itself
    assert not waker.alive
    logs.mkdir()
    waker.watch([str(logs)])
    bell.rang.clear()
    (logs / "app.log").write_bytes(b"line\n")
    assert bell.rang.wait(10)


def test_a_bell_that_fails_harms_nothing(tmp_path: Path) -> None:
    called = threading.Event()

    def closed_loop() -> None:
        called.set()
        raise RuntimeError("Event loop is closed")

    waker = Waker([str(tmp_path)], closed_loop)
    waker.start()
    (tmp_path / "app.log").write_bytes(b"line\n")
    assert called.wait(10)
    waker.stop()
    assert not waker.alive
