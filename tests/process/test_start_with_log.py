"""docs/deploy/start-with-log.sh: lines at once, signals and exit code kept, rotation by size."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.daemon import until

SCRIPT = Path(__file__).parents[2] / "docs" / "deploy" / "start-with-log.sh"
SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]
# Prints, waits for a signal, and says which one came.
HOST = """
import signal, sys
def say(number, frame):
    print("got", signal.Signals(number).name)
    sys.exit(7 if number == signal.SIGTERM else 0) if number != signal.SIGHUP else None
for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, say)
print("ready")
while True:
    signal.pause()
"""


def command(shell: str, log: Path, *words: str) -> list[str]:
    words = (str(SCRIPT), str(log), *words)
    return [shell, "sh", *words] if shell == "busybox" else [shell, *words]


@contextmanager
def started(shell: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    words = command(shell, log, sys.executable, "-c", HOST)
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            yield process
        finally:
            process.kill()


def test_there_is_a_shell_to_test_with() -> None:
    assert "dash" in SHELLS


@pytest.mark.parametrize("shell", SHELLS)
def test_lines_are_there_at_once_and_signals_and_exit_code_are_kept(
    shell: str, tmp_path: Path
) -> None:
    log = tmp_path / "app.log"
    with started(shell, log) as process:
        until(lambda: log.exists() and log.read_text() == "ready\n", "the line, while it runs")
        process.send_signal(signal.SIGHUP)
        until(lambda: log.read_text() == "ready\ngot SIGHUP\n", "the host goes on after SIGHUP")
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert process.stdout.read() == b"ready\ngot SIGHUP\ngot SIGTERM\n"
        assert process.wait(timeout=10) == 7
    assert log.read_text().endswith("got SIGTERM\n")


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("script", "code"), [("exit 3", 3), ("exit 0", 0), ("kill -9 $$", 137)], ids=str
)
def test_the_exit_code_is_the_host_s(shell: str, script: str, code: int, tmp_path: Path) -> None:
    done = subprocess.run(
        command(shell, tmp_path / "a.log", "sh", "-c", script), check=False, timeout=20
    )
    assert done.returncode == code


@pytest.mark.parametrize("shell", SHELLS)
def test_what_is_printed_is_written_byte_for_byte(shell: str, tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    text = b"  {'a': \"b\\\\n\"}\t%s \xff\xc3\xa9\n\n-n\nlast, without an end"
    (tmp_path / "text").write_bytes(text)
    words = command(shell, log, "cat", str(tmp_path / "text"))
    done = subprocess.run(words, capture_output=True, check=False, timeout=20)
    assert log.read_bytes() == text + b"\n"
    assert done.stdout == text + b"\n"


@pytest.mark.parametrize("shell", SHELLS)
def test_the_file_is_rotated_by_its_size_and_no_line_is_lost(shell: str, tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    script = "i=0; while [ $i -lt 60 ]; do echo line $i; i=$((i + 1)); done"
    words = command(shell, log, "sh", "-c", script)
    subprocess.run(
        ["env", "LOG_MAX_BYTES=200", *words], check=True, capture_output=True, timeout=20
    )
    kept = [tmp_path / "app.log.2", tmp_path / "app.log.1", log]
    text = "".join(path.read_text() for path in kept)
    assert text.splitlines() == [f"line {n}" for n in range(60)][-len(text.splitlines()) :]
    assert all(path.stat().st_size < 220 for path in kept)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_file_that_cannot_be_written_costs_the_host_nothing(tmp_path: Path) -> None:
    words = command("dash", tmp_path / "no" / "such" / "a.log", "echo", "still here")
    done = subprocess.run(words, capture_output=True, check=False, timeout=20)
    assert (done.returncode, done.stdout) == (0, b"still here\n")
