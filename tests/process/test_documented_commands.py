"""Every `sidecar` command that README and docs/ show, run beside a daemon of the shipped files."""

import os
import re
import shlex
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from subprocess import PIPE, Popen
from threading import Thread

import pytest
from click.testing import CliRunner

from sidecar.cli import main
from support.daemon import RULES
from support.setup import append, record
from support.sinks import SlackSink, SmtpSink

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "compose.yaml", *sorted((ROOT / "docs").rglob("*.md"))]
_SHELLS = ("", "sh", "console")
_INLINE = re.compile(r"`(sidecar [a-z][^`]*)`")
_CALL = re.compile(r"(?:^|[ (/])sidecar ((?:[a-z]+)(?: [^|&;#)\n]*)?)")
# A shell's business, or an ellipsis: no word of a command.
_NO_WORD = re.compile(r"\\$|2?> ?\S+")
_ORGS = ("org_1", "org_2", "org_123")
_LINE = 'WEBHOOK_METRIC: {"event_type": "invoice.payment_failed", "status": "payment_failure"}'
# What stands for something of the reader's, in the order in which it is looked for.
STANDS_FOR = {
    "-c changed/sidecar.yaml": "-c sidecar.yaml",
    "-c /etc/sidecar/sidecar.yaml": "-c first/sidecar.yaml",
    "-c FILE": "-c sidecar.yaml",
    "--against FILE2": "--against sidecar.yaml",
    "/var/log/webhook/billing.log*": "app.log",
    "billing.log": "app.log",
    "/backup/state.db": "once.db",
    "backup FILE": "backup twice.db",
    "backup …": "backup thrice.db",
    "LOG…": "app.log",
    "[LOG": "app.log",
    "LOG": "app.log",
    "MATCHER…": "org_id=org_123",
    "metrics prune org_id=org_123": "metrics prune 'pod=~\"web-.*\"'",
    "drill ALERT": "drill PaymentFailing",
    "resolve ALERT KEY=VALUE…": "resolve PaymentFailing org_id=org_2",
    "resolve ALERT LABEL=VALUE…": "resolve PaymentFailing org_id=org_2",
    "LABEL=VALUE…": "severity=critical",
    "PATH…": "rules",
    "RECEIVER": "critical",
    "FOLDER": "second",
    "FILE:N": "app.log:1",
    "schema KIND": "schema tests",
    "'LINE'": shlex.quote(_LINE),
    "LINE": shlex.quote(_LINE),
    "NAME": "PaymentFailing",
}
# Run by tests of their own: test_demo, test_stripe_page, tests/cli/test_render, below. And all the
# cases of the shipped rules by `make check`.
_ELSEWHERE = re.compile(r"run|demo|\w+ -c try/|render critical --open|test rules$")


def code_of(page: Path) -> Iterator[str]:
    """Yield the lines of a page's blocks of commands, and what stands in backticks elsewhere."""
    language: str | None = None
    for line in page.read_text().splitlines():
        if line.lstrip().startswith("```"):
            language = None if language is not None else line.strip().removeprefix("```")
        elif language is None:
            yield from _INLINE.findall(line.replace("\\|", "|"))
        elif language in _SHELLS:
            yield line.removeprefix("$ ").strip()


def calls(page: Path) -> list[str]:
    """Return the commands in a page's code, without the word `sidecar`, as a reader runs them."""
    found = [call for line in code_of(page) for call in _CALL.findall(line)]
    return [as_run(call) for call in found]


def as_run(call: str) -> str:
    """Return a call with its options and with the reader's own words."""
    call = _NO_WORD.sub("", call).strip()
    for word, meant in STANDS_FOR.items():
        call = re.sub(rf"(?<![\w/]){re.escape(word)}(?![\w/])", meant.replace("\\", "\\\\"), call)
    call = call.replace("[", "").replace("]", "").strip()
    return f"{call} app.log" if call.endswith("--sample") else call


COMMANDS = sorted({call for page in PAGES for call in calls(page)})
_MENTIONED = [call for call in COMMANDS if " " not in call or call == "silence add"]
_USED = [call for call in COMMANDS if call not in _MENTIONED and not _ELSEWHERE.match(call)]
_KEPT = [call for call in COMMANDS if " " in call and re.match(r"run (?!-c try)", call)]


@contextmanager
def daemon(
    call: str, folder: Path, slack: SlackSink, mail: SmtpSink
) -> Iterator[tuple[dict[str, str], Popen[str]]]:
    """Run `sidecar run` as a document has it, with the shipped files in a reader's folder.

    Yields the environment and the process once it listens.
    """
    shutil.copy(ROOT / "sidecar.yaml", folder)
    shutil.copytree(RULES, folder / "rules")
    with socket.create_server(("127.0.0.1", 0)) as free:
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    known = {
        **os.environ, "HOME": str(folder), "WEBHOOK_LOG": "app.log", "SIDECAR_STATE": "state.db",
        "SLACK_WEBHOOK_URL": slack.url, "SIDECAR_LISTEN": listen,
        "SMTP_SMARTHOST": f"127.0.0.1:{mail.port}", "ONCALL_EMAIL": "ann@example.com",
        "SMTP_REQUIRE_TLS": "false",
    }  # fmt: skip
    words = [sys.executable, "-m", "sidecar", *shlex.split(call)]
    with Popen(words, cwd=folder, env=known, stderr=PIPE, text=True) as process:
        assert process.stderr is not None
        assert any('"event": "listening"' in line for line in process.stderr), (
            f"{call} did not start"
        )
        rest = Thread(target=process.stderr.read)
        rest.start()
        try:
            yield known, process
        finally:
            process.terminate()
            rest.join()


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Yield a reader's environment, in whose folder a daemon has told of each organisation."""
    folder = tmp_path_factory.mktemp("reader")
    with (
        SlackSink() as slack,
        SmtpSink() as mail,
        daemon("run -c sidecar.yaml", folder, slack, mail) as (known, _),
    ):
        now = datetime.now(UTC).isoformat()
        failed = [record("payment_failure", org, attempt_count=3, timestamp=now) for org in _ORGS]
        append(folder / "app.log", *failed * 6)
        slack.wait_for(len(_ORGS), timeout=30)
        with chdir(folder):
            assert ask("init first --tell slack --log app.log --provider stripe", known)[0] == 0
            made = ask("silence add org_id=org_9 --for 2h --comment theirs", known)
            known["SILENCE"] = re.findall(r"[0-9a-f]{8,}", made[1])[0]
            yield known


def ask(call: str, environment: dict[str, str]) -> tuple[int, str]:
    """Return exit code and output of a command."""
    words = shlex.split(call.replace("3f2a9c01", environment.get("SILENCE", "")))
    done = CliRunner().invoke(main, words, env=environment, input="\n" * 9)
    return done.exit_code, done.output


def test_there_are_commands_to_run() -> None:
    names = {call.split()[0] for call in COMMANDS}
    assert {"run", "check", "init", "backup", "replay", "notify", "alerts"} <= names


@pytest.mark.parametrize("call", _USED)
def test_a_command_does_what_it_is_shown_for(environment: dict[str, str], call: str) -> None:
    code, output = ask(call, environment)
    # The sidecar has no problem here, so none can be ended.
    assert code == (1 if call.startswith("resolve Sidecar") else 0), output


@pytest.mark.parametrize("call", _MENTIONED)
def test_a_command_that_is_named_is_there(call: str) -> None:
    assert ask(f"{call} --help", {})[0] == 0


@pytest.mark.parametrize("call", _KEPT)
def test_the_daemon_starts_as_shown_and_stops_in_good_order(tmp_path: Path, call: str) -> None:
    with (
        SlackSink() as slack,
        SmtpSink() as mail,
        daemon(call, tmp_path, slack, mail) as (_, process),
    ):
        process.terminate()
        assert process.wait(timeout=20) == 0
