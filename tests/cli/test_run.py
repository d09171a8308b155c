"""`sidecar run`: what the command adds to the daemon."""

import gc
import weakref
from collections.abc import Iterator

import pytest
import structlog

from sidecar.cli.run import _replaced, mended_in
from sidecar.config.settings import Config
from sidecar.notify.model import Receiver, Route


class Ring:
    """Refers to itself, as the key states and the queues of a core do."""

    def __init__(self) -> None:
        self.next = self


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    gc.unfreeze()
    structlog.reset_defaults()


def test_a_reload_lets_go_of_what_was_there_since_the_start() -> None:
    old = weakref.ref(Ring())  # alive: only the collector finds a ring
    assert old() is not None
    gc.freeze()
    config = Config(
        path="sidecar.yaml", sources=(), patterns=(), rules=(), metrics=(), state_path="state.db",
        route=Route(id="{}", receiver="team"), receivers={"team": Receiver(name="team")},
    )  # fmt: skip
    _replaced(config)
    assert old() is None


@pytest.mark.parametrize(
    ("version", "mended"),
    [
        ((3, 11, 9), "3.11.10"),
        ((3, 11, 10), ""),
        ((3, 12, 4), "3.12.5"),
        ((3, 12, 5), ""),
        ((3, 13, 0), ""),
        ((3, 14, 2), ""),
    ],
)
def test_a_python_with_known_weaknesses_is_warned_about(
    version: tuple[int, ...], mended: str
) -> None:
    assert mended_in(version) == mended
