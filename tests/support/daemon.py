"""The daemon as a process of its own: started, asked, killed."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

from support import daemon_at
from support.daemon_at import main
from support.forks import Forked

_TICK = threading.Event()  # never set: a bounded pause between two looks at another process
SAMPLES = Path(__file__).parents[1] / "samples"
RULES = Path(__file__).parents[2] / "rules"


def until(holds: Callable[[], bool], what: str, timeout: float = 30.0) -> None:
    """Return once `holds()`; fail the test after `timeout` seconds. Another process is on its own
    time, so looking again is all one can do.
    """
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline, f"not within {timeout:.0f} s: {what}"
        _TICK.wait(0.02)


def started(config: Path, said: Path) -> Forked:
    """Start the daemon, which writes its log to the end of `said`, and wait for nothing."""
    process = Forked(_run, [str(config), str(said)])
    process.stderr.close()
    return process


def _run(config: str, said: str) -> int:
    os.dup2(os.open(said, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644), 2)
    sys.orig_argv = [sys.executable, daemon_at.__file__, config, "0"]  # by which it begins anew
    return main(config, "0")


@dataclass
class DaemonProcess:
    """A running `sidecar run` whose clock is shifted by a fixed number of seconds."""

    process: "subprocess.Popen[bytes] | Forked"
    log: list[str] = field(default_factory=list)
    port: int = 0

    def get(self, path: str) -> str:
        with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            text: str = answer.read().decode()
            return text

    def samples(self) -> dict[str, float]:
        """Return every sample of /metrics as written there: `name{labels}` -> value."""
        lines = [li for li in self.get("/metrics").splitlines() if li and not li.startswith("#")]
        return {name: float(value) for name, value in (li.rsplit(" ", 1) for li in lines)}

    def events(self) -> dict[tuple[str, str, str], float]:
        """Return webhook_events_total by (provider, event_type, status), without zeros."""
        found = {}
        for name, value in self.samples().items():
            if name.startswith("webhook_events_total{") and value:
                labels = dict(re.findall(r'(\w+)="([^"]*)"', name))
                found[labels["provider"], labels["event_type"], labels["status"]] = value
        return found

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=20)


@contextmanager
def running(
    config: Path, shift: float = 0.0, *, shadow: bool = False, inside: Sequence[str] = ()
) -> Iterator[DaemonProcess]:
    """Start the daemon on `config`, wait until it listens; end it if it still runs at the end.

    `inside`: the words of a command that becomes the daemon by those that follow; it has an
    interpreter of its own.
    """
    words = [str(config), str(shift), *(["--shadow"] if shadow else [])]
    process: subprocess.Popen[bytes] | Forked
    if inside:
        script = str(Path(__file__).parent / "daemon_at.py")
        process = subprocess.Popen(
            [*inside, sys.executable, "-u", script, *words], stderr=subprocess.PIPE
        )
    else:
        process = Forked(main, words)
    daemon = DaemonProcess(process)
    assert process.stderr is not None
    for raw in process.stderr:
        daemon.log.append(raw.decode())
        if '"event": "listening"' in daemon.log[-1]:
            daemon.port = json.loads(daemon.log[-1])["port"]
            break
    reader = threading.Thread(target=_drain, args=(daemon,), daemon=True)
    reader.start()
    try:
        assert daemon.port, "it did not start:\n" + "".join(daemon.log)
        yield daemon
    finally:
        _end(process)
        reader.join()
        process.stderr.close()


def _end(process: subprocess.Popen[bytes] | Forked) -> None:
    """End it in good order, so that its coverage is written; one that hangs is killed."""
    process.terminate()
    try:
        process.wait(timeout=2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _drain(daemon: DaemonProcess) -> None:
    assert daemon.process.stderr is not None
    daemon.log.extend(raw.decode() for raw in daemon.process.stderr)
