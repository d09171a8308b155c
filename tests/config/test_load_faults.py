"""Every fault a file can have, one fixture each: its place, its words, and nothing besides.

A fixture's first lines say what is expected of it: `# expect: 3:5: error: …`, with the file in
front where the fault is in another one.
"""

import re
import shutil
from pathlib import Path

import pytest

from sidecar.config.load import check_config, check_files
from sidecar.syntax.faults import Fault
from support.config import ENVIRON, SECRET

FAULTS = Path(__file__).parent / "faults"
FIXTURES = sorted(FAULTS.glob("*.yaml"))
_EXPECT = re.compile(r"# expect: (.*)")


def faults_in(path: Path) -> tuple[Fault, ...]:
    if path.name.endswith(".rules.yaml"):
        return check_files([str(path)], [], []).faults
    if path.name.endswith(".patterns.yaml"):
        return check_files([], [str(path)], []).faults
    return check_config(str(path), ENVIRON).faults


def shown(fault: Fault, fixture: Path) -> str:
    return str(fault).removeprefix(f"{fixture}:").replace(f"{FAULTS}/", "")


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda path: path.name.removesuffix(".yaml"))
def test_a_faulty_file_gives_exactly_the_expected_faults(fixture: Path) -> None:
    expected = _EXPECT.findall(fixture.read_text())
    assert expected
    assert [shown(fault, fixture) for fault in faults_in(fixture)] == expected


def test_no_fault_shows_a_secret() -> None:
    everything = [str(fault) for fixture in FIXTURES for fault in faults_in(fixture)]
    assert [text for text in everything if SECRET in text or "12:34:56" in text] == []


def test_the_fixtures_hold_secrets_that_could_leak() -> None:
    with_secret = [fixture for fixture in FIXTURES if SECRET in fixture.read_text()]
    assert len(with_secret) > 50


def test_a_fixture_is_complete_but_for_its_fault(tmp_path: Path) -> None:
    faulty = (FAULTS / "unknown-key.yaml").read_text()
    shutil.copytree(FAULTS / "files", tmp_path / "files")
    cured = tmp_path / "cured.yaml"
    cured.write_text(faulty.replace("reciever: []", ""))
    assert "reciever: []" in faulty
    assert check_config(str(cured), ENVIRON).faults == ()
