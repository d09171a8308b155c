"""DESIGN section 2 as a test: who may import whom, and what a module must look like."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "sidecar"
MODULES = sorted(ROOT.rglob("*.py"))
PURE = ("parse", "measure", "rules", "notify")
IO = ("ahead", "read", "store", "deliver", "web")
# Pure packages may look left only: data goes from parse to notify.
MAY_IMPORT = {
    "parse": set(),
    "measure": {"parse"},
    "rules": {"parse", "measure"},
    "notify": {"parse", "rules"},
    "read": {*PURE, "config"},
    "store": set(PURE),
    "deliver": {*PURE, "config"},
    "ahead": {"parse"},
    "web": {*PURE, "config"},
    # Test files are read into the simulation's own values, as rule files are into the rules'.
    "config": {*PURE, "simulate"},
    # Pure, and the only package that drives the core.
    "simulate": {*PURE, "config", "core"},
}
# Shared values and ports at the top of the package that everybody may use.
SHARED = {"clock", "durations", "matchers", "rows", "secret"}
MAX_MODULE_LINES = 300
MAX_FUNCTION_LINES = 50


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def package_of(path: Path) -> str:
    inside = path.relative_to(ROOT).parts
    return inside[0] if len(inside) > 1 else ""


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT.parent))


@pytest.mark.parametrize("path", [p for p in MODULES if package_of(p) in MAY_IMPORT], ids=name_of)
def test_a_module_imports_only_what_its_place_allows(path: Path) -> None:
    package = package_of(path)
    ours = [name.split(".")[1:] for name in imports(path) if name.startswith("sidecar.")]
    allowed = {*MAY_IMPORT[package], *SHARED, package}
    wrong = {parts[0] for parts in ours if parts and parts[0] not in allowed}
    assert not wrong, f"{name_of(path)} must not import sidecar.{', sidecar.'.join(wrong)}"


@pytest.mark.parametrize(
    "path", [p for p in MODULES if package_of(p) in (*PURE, *IO, "simulate")], ids=name_of
)
def test_config_is_known_to_others_by_its_model_alone(path: Path) -> None:
    loaded = {name for name in imports(path) if name.startswith("sidecar.config")}
    assert loaded <= {"sidecar.config.model"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_says_what_it_owns_and_stays_small(path: Path) -> None:
    text = path.read_text()
    if path.name != "__init__.py":
        assert ast.get_docstring(ast.parse(text)), f"{name_of(path)} has no docstring"
    assert len(text.splitlines()) <= MAX_MODULE_LINES


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_function_is_longer_than_a_screen(path: Path) -> None:
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    long = [f.name for f in functions if (f.end_lineno or 0) - f.lineno >= MAX_FUNCTION_LINES]
    assert not long
