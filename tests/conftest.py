"""What every test may use."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# On a user's machine each run tries other examples; the gate tries the same ones every time. No
# example is a fault for being slow: a busy machine, or one that measures coverage, makes any so.
settings.register_profile("user", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "user")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


PROCESS = Path(__file__).parent / "process"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(PROCESS):
            item.add_marker("process")
