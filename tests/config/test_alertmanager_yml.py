"""An alertmanager.yml under our keys: it loads unchanged, or says by line what we do not have."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from sidecar.config.load import check_config
from sidecar.notify.group import match_routes
from support.config import ENVIRON

FOLDER = Path(__file__).parent / "alertmanager"
FILES = sorted(FOLDER.glob("*.yml"))
RULES = Path(__file__).parent / "faults" / "files" / "good.rules.yaml"
_EXPECT = re.compile(r"^# expect: (.*)", re.MULTILINE)
_ROUTE = re.compile(r"^# route: (.*) -> (.*)", re.MULTILINE)
OURS = f"\nsources: [{{path: app.log}}]\nrule_files: [{RULES}]\n"


def routes_of(file: Path) -> list[tuple[list[str], list[str]]]:
    """Return labels, and who is to be told."""
    return [(found[1].split(), found[2].split(", ")) for found in _ROUTE.finditer(file.read_text())]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_loads_and_routes_as_there_or_names_the_lines_of_what_we_have_not(
    file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "sidecar.yaml"
    path.write_text(file.read_text() + OURS)
    checked = check_config(str(path), ENVIRON)
    errors = [f"{f.line}:{f.column}: {f.severity}: {f.message}" for f in checked.faults]
    errors = [error for error in errors if ": error: " in error]
    expected = _EXPECT.findall(file.read_text())
    assert [e[: len(x)] for e, x in zip(errors, expected, strict=True)] == expected
    if checked.config is not None:
        for labels, receivers in routes_of(file):
            values = dict(pair.split("=", 1) for pair in labels)
            found = match_routes(checked.config.route, values)
            assert [route.receiver for route in found] == receivers, labels


def test_half_of_them_load_as_they_are() -> None:
    assert len(FILES) == 10
    assert sum(not _EXPECT.search(file.read_text()) for file in FILES) == 6


@pytest.mark.skipif(shutil.which("amtool") is None, reason="install prometheus-alertmanager")
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_alertmanager_itself_takes_the_file_and_routes_so(file: Path) -> None:
    check = subprocess.run(["amtool", "check-config", file], check=False, capture_output=True)
    assert check.returncode == 0, check.stderr
    for labels, receivers in routes_of(file):
        command = ["amtool", "config", "routes", "test", f"--config.file={file}", *labels]
        found = subprocess.run(command, check=True, capture_output=True, text=True)
        assert found.stdout.strip().split(",") == receivers, labels
