"""What commands print, in any locale: nothing steers a terminal, and nothing is a traceback."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.web import StubApi, serving, web_state

pytestmark = pytest.mark.process
# ESC with its commands (CSI, OSC 8 and 52), C1 controls, what turns the direction of a text, BEL.
HOSTILE = "\x1b[2J\x1b]0;owned\x07\x1b]52;c;cm0gLXJm\x07\x9b31m\x9d8;;http://evil\x9c\u202e\u2066\u200f\x7f"
C = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
LATIN = {**C, "PYTHONIOENCODING": "latin-1"}
UTF8 = {"LC_ALL": "C.UTF-8"}
LOCALES = [pytest.param(C, id="C"), pytest.param(LATIN, id="Latin"), pytest.param(UTF8, id="UTF-8")]


class HostileApi(StubApi):
    async def alerts(self) -> list[dict[str, Any]]:
        text = f"ü{HOSTILE}"
        return [
            {"alertname": "A", "state": text, "severity": text, "since": 0.0, "key": {"o": text},
             "annotations": {"summary": text}, "collected": {"id": [text]}, "labels": {"o": text}}
        ]  # fmt: skip


async def sidecar(
    locale: dict[str, str], *arguments: str | bytes
) -> subprocess.CompletedProcess[bytes]:
    api = HostileApi()
    async with serving(web_state(api=api)) as port:
        command = [
            sys.executable,
            "-m",
            "sidecar",
            arguments[0],
            "--url",
            f"http://127.0.0.1:{port}",
        ]
        return await asyncio.to_thread(
            subprocess.run, [*command, *arguments[1:]], capture_output=True,
            env={**os.environ, **locale}, check=False,
        )  # fmt: skip


def unseen(text: str) -> set[str]:
    return {letter for letter in text if not letter.isprintable() and letter != "\n"}


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("options", [(), ("--format", "json"), ("--ids",)], ids=str)
async def test_alerts_steer_no_terminal(locale: dict[str, str], options: tuple[str, ...]) -> None:
    done = await sidecar(locale, "alerts", *options)
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode("latin-1" if locale is LATIN else "utf-8")
    assert unseen(text) == set()
    if "json" in options and locale is UTF8:
        [expected] = await HostileApi().alerts()
        assert json.loads(text) == expected


@pytest.mark.parametrize("locale", LOCALES)
async def test_resolve_takes_any_bytes(locale: dict[str, str]) -> None:
    done = await sidecar(locale, "resolve", b"A\xff\x1b[2J", "o=ü".encode() + b"\xff")
    assert (done.returncode, done.stderr) == (0, b"")
    assert unseen(done.stdout.decode("latin-1" if locale is LATIN else "utf-8")) == set()


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("command", ["healthcheck", "check", "alerts"])
def test_files_are_utf8_whatever_the_locale(
    tmp_path: Path, locale: dict[str, str], command: str
) -> None:
    (tmp_path / "sidecar.yaml").write_bytes("# ü\nhttp: {listen: '127.0.0.1:1'}\n".encode())
    done = subprocess.run(
        [sys.executable, "-m", "sidecar", command], cwd=tmp_path, capture_output=True,
        env={**os.environ, **locale}, check=False,
    )  # fmt: skip
    assert b"Traceback" not in done.stderr
    said = {"healthcheck": b"no answer from", "check": b"is missing", "alerts": b"no answer from"}
    assert said[command] in done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments",
    [(b"check", b"e\x1b[2J\xff.x"), (b"replay", b"e\x1b[2J\xff.log"), (b"test", b"e\x1b[2J\xff.x")],
    ids=str,
)
def test_what_a_call_is_wrong_about_is_said_without_steering(arguments: tuple[bytes, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sidecar", *arguments], capture_output=True, check=False
    )
    assert done.returncode == 2
    assert unseen(done.stderr.decode()) == set()


def test_check_says_of_a_hostile_sample_what_it_is_without_steering(tmp_path: Path) -> None:
    (tmp_path / "a.rules.yaml").write_text("groups: []\n")
    log = os.fsencode(tmp_path) + b"/e\x1b[2J\xff.log"
    with open(log, "w", encoding="utf-8") as file:  # noqa: PTH123 - of bytes
        file.write(f"WEBHOOK_METRIC: {HOSTILE}\n")
    done = subprocess.run(
        [sys.executable, "-m", "sidecar", "check", "--sample", log, str(tmp_path / "a.rules.yaml")],
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert unseen(done.stdout.decode() + done.stderr.decode()) == set()
