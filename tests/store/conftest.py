"""The stores that each test of the contract runs against."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from sidecar.secret import Secret
from sidecar.store.postgresql import PostgreSql
from sidecar.store.store import Store
from support.postgresql import PostgreSql as Server, postgresql


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with postgresql() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.process)])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """Return what opens the same state each time."""
    if request.param == "sqlite":
        return partial(Store.open, str(tmp_path / "state.db"))
    url = request.getfixturevalue("server").fresh()
    return lambda: Store(PostgreSql(Secret(url)))


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "state.db")


@pytest.fixture
def store(path: str) -> Iterator[Store]:
    """Return a state file that is open."""
    store = Store.open(path)
    yield store
    store.close()
