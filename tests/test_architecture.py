"""The architecture as a test: who may import whom, and what a module must look like."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent / "sidecar"
MODULES = sorted(ROOT.rglob("*.py"))
PURE = ("parse", "measure", "rules", "notify", "render")
IO = ("ahead", "directory", "read", "store", "deliver", "receivers", "provider", "web")
# Pure packages may look left only: data goes from parse to notify.
MAY_IMPORT = {
    "parse": {"syntax"},
    "measure": {"parse", "syntax"},
    "rules": {"parse", "measure", "syntax"},
    "notify": {"parse", "rules", "syntax"},
    "render": {"rules", "notify", "syntax"},
    "receivers": {"notify", "render", "syntax"},
    "deliver": {"notify", "render", "receivers"},
    "read": {"parse", "config"},
    "store": {"deliver"},
    "ahead": {"parse"},
    "fleet": {"parse", "rules", "store"},
    "host": set(),
    "provider": {"parse", "config", "receivers"},
    "web": {*PURE, "config", "provider", "receivers"},
    "syntax": set(),
    "config": {*PURE, "syntax", "receivers", "directory"},
    "directory": {"notify", "receivers", "syntax"},
    "simulate": {*PURE, "config", "core"},
    "ruletest": {*PURE, "config", "syntax", "simulate", "receivers"},
}
# Shared values and ports at the top of the package that everybody may use.
SHARED = {"redact", "batch", "clock", "durations", "matchers", "rows", "secret"}
MAX_MODULE_LINES = 500
MAX_FUNCTION_LINES = 50


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def package_of(path: Path) -> str:
    inside = path.relative_to(ROOT).parts
    return inside[0] if len(inside) > 1 else ""


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT.parent))


def test_modules_import_only_what_their_place_allows() -> None:
    wrong = []
    for path in MODULES:
        package = package_of(path)
        if package in MAY_IMPORT:
            ours = {name.split(".")[1] for name in imports(path) if name.startswith("sidecar.")}
            wrong += [
                f"{name_of(path)}: {n}" for n in ours - {*MAY_IMPORT[package], *SHARED, package}
            ]
    assert not wrong


def test_config_is_known_to_others_by_its_settings_alone() -> None:
    others = [path for path in MODULES if package_of(path) in (*PURE, *IO, "simulate")]
    loaded = {(name_of(p), n) for p in others for n in imports(p) if n.startswith("sidecar.config")}
    assert {name for _, name in loaded} <= {"sidecar.config.settings", "sidecar.config.sources"}


def test_modules_say_what_they_own_and_stay_small() -> None:
    silent = [p for p in MODULES if p.name != "__init__.py" and not _docstring(p)]
    long = [p for p in MODULES if len(p.read_text().splitlines()) > MAX_MODULE_LINES]
    assert not silent
    assert not long


def test_functions_fit_a_screen() -> None:
    long = [
        f"{name_of(path)}:{node.lineno} {node.name}"
        for path in MODULES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= MAX_FUNCTION_LINES
    ]
    assert not long


def _docstring(path: Path) -> str | None:
    return ast.get_docstring(tree(path))
