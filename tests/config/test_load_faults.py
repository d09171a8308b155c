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
from support.config import ENVIRON, RULES, SECRET

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


WHOLE = {
    "sidecar.yaml": """\
sources: [{path: app.log}, {path: b.log, key_file: key}]
rule_files: [a.rules.yaml]
pattern_files: [a.patterns.yaml]
template_files: [mine.j2]
directory: {file: owners.csv}
receivers: [{name: team, email_configs: [{to: 'ann@example.com', smarthost: 'm.example.com:587',
  from: a@example.com, auth_username: a, auth_password_file: password}]}]
""",
    "a.rules.yaml": RULES,
    "a.patterns.yaml": "patterns: [{name: p, regex: gone, fields: {event_type: a, status: b}}]\n",
    "mine.j2": "{% macro mine() %}words{% endmacro %}\n",
    "owners.csv": "org_id,email\norg_1,ann@example.com\n",
    "key": "secret\n",
    "password": "secret\n",
}
EMPTY = ("", "\n", "# nothing but a comment\n", "---\n", "{}\n", "\ufeff")


def errors_with(folder: Path, name: str = "", text: str = "") -> list[str]:
    for file, whole in (WHOLE | ({name: text} if name else {})).items():
        (folder / file).write_text(whole)
    checked = check_config(str(folder / "sidecar.yaml"), {})
    assert (checked.config is None) is bool(checked.errors)
    return [f"{Path(one.file).name}: {one.message}" for one in checked.errors]


def test_a_file_that_holds_nothing_is_a_fault_to_every_loader(tmp_path: Path) -> None:
    """Whole, it is made; and what is not made has at least one fault."""
    assert errors_with(tmp_path) == []
    for name in WHOLE:
        assert errors_with(tmp_path, name, ""), name
        for text in EMPTY:
            errors_with(tmp_path, name, text)
