"""Every example in a docstring does what it shows."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import sidecar

ROOT = Path(sidecar.__file__).parent
WITH_EXAMPLES = [
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted(ROOT.rglob("*.py"))
    if ">>> " in path.read_text()
]


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_an_example_does_what_it_shows(module: str, tmp_path: Path) -> None:
    """Examples may put files into `folder`."""
    result = doctest.testmod(import_module(module), extraglobs={"folder": tmp_path})
    assert result.attempted
    assert not result.failed
