"""What every test may use."""

import os

import pytest
from hypothesis import settings

# On a user's machine each run tries other examples; the gate tries the same ones every time.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI") == "true":
    settings.load_profile("ci")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
