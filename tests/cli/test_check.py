"""`sidecar check`: what it prints and how it exits."""

import os
import pwd
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sidecar.cli.check import check
from sidecar.config.load import log_doubts, state_doubt
from sidecar.receivers import shipped_templates
from support.config import RULES, SECRET, write_config

NOTHING_SET = dict.fromkeys(
    ("SLACK_WEBHOOK_URL", "SLACK_BOT_TOKEN", "ONCALL_EMAIL", "TEAM_EMAIL", "SMTP_SMARTHOST")
)
PATTERNS = """\
patterns:
  - {name: gone, regex: 'org (?P<org_id>.+) gone', fields: {event_type: org, status: gone}}
"""

OWN = """\
groups:
  - {name: own, rules: [{alert: Own, match: ['webhook_provider="sidecar"'], condition: count() >= 1,
     within: 1h, labels: {severity: error}}]}
"""
UNWATCHED = "no rule takes the sidecar's own events"


def watched(folder: Path, rest: str = "", **parts: str) -> str:
    """Write a complete sidecar.yaml, with a rule about the sidecar itself."""
    (folder / "own.rules.yaml").write_text(OWN)
    return write_config(folder, rest=f"{rest}rule_files: [a.rules.yaml, own.rules.yaml]", **parts)


def run(*args: object, files: bool = False) -> Result:
    given = [str(arg) for arg in args] + ([] if files else ["--no-files"])
    return CliRunner().invoke(check, given, env={"TOKEN": f"xoxb-{SECRET}"})


def test_a_right_configuration_is_fine(tmp_path: Path) -> None:
    result = run("-c", watched(tmp_path))
    assert (result.exit_code, result.output.splitlines()[-1]) == (
        0,
        f"2 rules, 0 metrics, 0 patterns, {len(shipped_templates())} templates, 1 receiver: fine",
    )


def test_every_fault_is_printed_with_its_place(tmp_path: Path) -> None:
    path = write_config(tmp_path, rest="stale_after: soon\nhttp: {listen: 5}")
    result = run("-c", path)
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[0].startswith(f"{path}:6:14: error: 'soon' is not a duration")
    assert lines[1:-1] == [
        "    stale_after: soon",
        "                 ^",
        f"{path}:7:16: error: expected text, found a number; quote it",
        "    http: {listen: 5}",
        "                   ^",
    ]
    assert lines[-1].endswith(": 2 errors")


def test_warnings_are_printed_and_allowed(tmp_path: Path) -> None:
    receivers = "receivers: [{name: team}, {name: nobody}]"
    result = run("-c", watched(tmp_path, receivers=receivers))
    assert result.exit_code == 0
    assert "warning: no route leads to receiver `nobody`" in result.output
    assert result.output.endswith(": 1 warning\n")


def test_placeholders_stand_for_what_only_the_real_place_has(tmp_path: Path) -> None:
    path = Path(write_config(tmp_path))
    text = path.read_text() + "http: {token_file: /run/secrets/none, listen: '${LISTEN}'}\n"
    path.write_text(text)
    real, pretended = run("-c", path), run("-c", path, "--placeholders")
    assert real.output.count("error: ") == 2
    assert (pretended.exit_code, pretended.output.count("error")) == (0, 0)
    path.write_text(text + "stale_after: soon\n")
    assert run("-c", path, "--placeholders").output.count("error: ") == 1


def test_placeholders_let_the_shipped_configuration_pass_without_an_environment() -> None:
    shipped = Path(__file__).parents[2] / "sidecar.yaml"
    result = CliRunner().invoke(check, ["-c", str(shipped), "--placeholders"], env=NOTHING_SET)
    assert (result.exit_code, "error" in result.output) == (0, False)


FIFO = (
    "fifo is no regular file: nothing is read of it; a FIFO is read as stdin: write `-`, and "
    "`sidecar run < FIFO`"
)
LOGS = """\
sources: [{path: none/app.log}, {path: 'logs/*.log'}, {path: logs}, {path: fifo}, {path: own.log}]
"""


def test_where_no_rule_is_about_the_sidecar_itself_check_says_that_nobody_is_told(
    tmp_path: Path,
) -> None:
    path = write_config(tmp_path)
    result = run("-c", path)
    assert result.exit_code == 0
    assert result.output.startswith(f"{path}:2:1: warning: {UNWATCHED}")
    assert "add the shipped rules/sidecar.rules.yaml to `rule_files`" in result.output
    assert UNWATCHED not in run("-c", watched(tmp_path)).output
    # Who only counts asked for no alert; and of what has errors not all rules are known.
    assert UNWATCHED not in run("-c", write_config(tmp_path, rest="rule_files: []")).output
    assert UNWATCHED not in run("-c", write_config(tmp_path, rest="stale_after: x")).output


def warnings(folder: Path, state: str = "state.db", **options: bool) -> list[str]:
    """Return what is said of the files of a configuration in `folder`, without its path."""
    path = watched(folder, rest=f"{LOGS}state: {{path: {state}}}\n")
    said = run("-c", path, **options).output.replace(f"{folder}/", "").splitlines()
    return [line.partition("warning: ")[2] for line in said if ": warning: " in line]


def test_logs_and_state_that_are_not_there_are_warned_of_where_they_are_named(
    tmp_path: Path,
) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "own.log").touch()
    os.mkfifo(tmp_path / "fifo")
    assert warnings(tmp_path, files=True) == [
        "folder none: No such file or directory; create it, or mend the path",
        "no file matches logs/*.log; the sidecar waits until one does",
        "logs is a directory, no log; write for example logs/*.log",
        FIFO,
    ]
    assert warnings(tmp_path) == []
    (tmp_path / "logs" / "a.log").touch()
    assert warnings(tmp_path, state="away/state.db", files=True)[1:] == [
        "logs is a directory, no log; write for example logs/*.log",
        FIFO,
        "folder away: No such file or directory; create it, or mend the path",
    ]
    assert "logs is a directory, no state file; write for example logs/state.db" in warnings(
        tmp_path, state="logs", files=True
    )


def test_a_state_folder_that_nobody_wrote_down_is_looked_at_as_well(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    (tmp_path / "app.log").touch()
    said = run("-c", path, files=True).output
    assert ("/var/lib/sidecar" in said) is not Path("/var/lib/sidecar").is_dir()
    assert said.startswith((f"{path}:1:1: warning: folder /var/lib/sidecar", "1 rule"))


@pytest.mark.skipif(os.geteuid() != 0, reason="run as root to give up and regain permission")
def test_what_this_user_cannot_read_or_write_is_said_with_his_name(tmp_path: Path) -> None:
    (tmp_path / "link.log").symlink_to("nowhere")
    (tmp_path / "logs").mkdir(mode=0o700)
    (tmp_path / "own.log").touch(mode=0o600)
    (tmp_path / "state.db").touch(mode=0o644)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    os.seteuid(65534)
    try:
        doubts = [*log_doubts(f"{tmp_path}/own.log"), *log_doubts(f"{tmp_path}/logs/*.log")]
        doubts += log_doubts(f"{tmp_path}/logs/deep/a.log")
        doubts += log_doubts(f"{tmp_path}/link.log")
        states = [state_doubt(tmp_path / name) for name in ("state.db", "new.db")]
    finally:
        os.seteuid(0)
    name = pwd.getpwuid(65534).pw_name
    assert [text.replace(f"{tmp_path}/", "") for text, _ in doubts] == [
        f"own.log cannot be read by user {name}",
        f"folder logs cannot be read by user {name}",
        f"folder logs/deep cannot be looked at by user {name}",
        f"link.log leads to nothing that user {name} can see",
    ]
    assert [one and one[0].replace(str(tmp_path), "") for one in states] == [
        f"/state.db cannot be written by user {name}",
        f"folder  cannot be written by user {name}",
    ]


def test_the_environment_is_the_process_s_own(tmp_path: Path) -> None:
    path = write_config(tmp_path, globals_="global: {slack_app_token: '${TOKEN}'}")
    assert run("-c", path).exit_code == 0


def test_a_directory_is_checked_with_everything_in_it(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "slack.text.j2").write_text("{{ status }}")
    (tmp_path / "a.rules.yaml").write_text(RULES)
    (tmp_path / "b.patterns.yml").write_text(PATTERNS)
    (tmp_path / "a.test.yaml").write_text("not: ours")
    result = run(tmp_path)
    assert result.output == "1 rule, 0 metrics, 1 pattern, 1 template, 0 receivers: fine\n"


def test_files_of_a_directory_are_checked_together(tmp_path: Path) -> None:
    (tmp_path / "a.rules.yaml").write_text(RULES)
    (tmp_path / "b.rules.yaml").write_text(RULES)
    result = run(tmp_path)
    assert result.exit_code == 1
    assert f"alert `PaymentFailing` is defined twice; first in {tmp_path}/a.rules.yaml:4" in (
        result.output
    )


def test_a_file_named_twice_is_no_duplicate(tmp_path: Path) -> None:
    (tmp_path / "a.rules.yaml").write_text(RULES)
    assert run(tmp_path, tmp_path / "a.rules.yaml").exit_code == 0


def test_a_file_reached_in_two_ways_is_reported_once(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    (tmp_path / "a.rules.yaml").write_text("groups: 5\n")
    result = run("-c", config, tmp_path / "a.rules.yaml")
    assert result.output.count("expected a list") == 1


def test_the_configuration_of_this_directory_is_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert run().output.endswith("1 receiver: fine\n")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        pytest.param((), "let `sidecar init` write a first one", id="nothing to check"),
        pytest.param(("-c", "nothing.yaml"), "does not exist", id="no such configuration"),
        pytest.param(("nothing.rules.yaml",), "does not exist", id="no such rule file"),
        pytest.param(("-c", "folder"), "is a directory", id="a directory as configuration"),
        pytest.param(("folder",), "holds no .rules.yaml", id="an empty directory"),
        pytest.param(("other.yaml",), "is checked with -c other.yaml", id="an unknown kind"),
    ],
)
def test_wrong_usage_exits_2_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "other.yaml").write_text("a: b\n")
    result = run(*args)
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())


def test_faults_are_annotations_on_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "a%, b.rules.yaml"
    path.write_text("groups:\n  - {name: g, rulez: []}\n")
    result = run(path, "--format", "github")
    assert result.exit_code == 1
    where = str(tmp_path / "a%25%2C b.rules.yaml")
    first = result.output.splitlines()[0]
    assert first.startswith(f"::error file={where},line=2,col=5::`rules` is missing")
