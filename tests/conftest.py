"""What every test may use."""

import os
import sys
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from support.postgresql import PostgreSql, postgresql

# Where Python may keep what it compiled, each process that a test starts begins in half the time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# What this machine trusts and goes through is no matter of a test, and costs each start time.
for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
    os.environ.pop(name, None)

# On a user's machine each run tries other examples; the gate tries the same ones every time. No
# example is a fault for being slow: a busy machine, or one that measures coverage, makes any so.
settings.register_profile(
    "user",
    deadline=None,
    max_examples=int(os.environ.get("EXAMPLES", "50")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("ci", settings.get_profile("user"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "user")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSql]:
    """Return a PostgreSQL that the tests of one file may stop and break."""
    with postgresql() as server:
        yield server


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


PROCESS = Path(__file__).parent / "process"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(PROCESS):
            item.add_marker("process")


def pytest_sessionfinish() -> None:
    vars(forkserver)["_forkserver"]._stop()  # and wait until it has written what it measured
