"""Whatever stands in a file, the loader answers with faults, never with another exception."""

import re
import tempfile
from pathlib import Path
from time import process_time
from typing import Any

import yaml
from hypothesis import given, strategies as st

from sidecar.config.load import check_config, check_files

SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.dates(),
    st.sampled_from(
        ["1h", "no", "${X}", "${Y:-1}", "a=b", 'a=~"("', "-", "{{ x", "count() >= 1", "*", "a@b.c"]
    ),
)
FIXTURES = (Path(__file__).parent / "faults").glob("*.yaml")
# Every word that stands as a key in some fixture, misspelt ones included.
KEYS = sorted({key for path in FIXTURES for key in re.findall(r"\b(\w+):", path.read_text())})
TREES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=5)
    ),
    max_leaves=25,
)


def check_as_everything(data: bytes) -> int:
    """Return how many faults `data` has as each kind of file; raises if the loader does."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fuzz.yaml"
        path.write_bytes(data)
        name = str(path)
        config = check_config(name, {"Y": ""})
        files = check_files([name], [name], [name])
        assert config.config is None or not any(f.severity == "error" for f in config.faults)
        return len(config.faults) + len(files.faults)


@given(TREES)
def test_any_tree_of_our_own_keys(tree: Any) -> None:
    assert check_as_everything(yaml.safe_dump(tree, allow_unicode=True).encode()) > 0


@given(st.dictionaries(st.sampled_from(KEYS), TREES, min_size=1))
def test_any_table_of_our_own_keys(tree: dict[str, Any]) -> None:
    assert check_as_everything(yaml.safe_dump(tree).encode()) > 0


@given(st.text(alphabet="abc:- \n\t[]{}&*!|>'\"#%@`?,.0~<=$\\", max_size=60))
def test_any_text_of_the_characters_that_yaml_cares_about(text: str) -> None:
    assert check_as_everything(text.encode()) > 0


@given(st.binary(max_size=60))
def test_any_bytes(data: bytes) -> None:
    assert check_as_everything(data) > 0


def test_a_value_of_many_digits_takes_no_time() -> None:
    began = process_time()
    check_as_everything(b"sources: " + b"9" * 100_000 + b"x\n")
    assert process_time() - began < 5
