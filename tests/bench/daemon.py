"""The real daemon as a process of its own, watched from outside without disturbing it.

How far it has read is asked of the state file, not of /metrics: each scrape would take
milliseconds from the reader that is being measured.
"""

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

ROOT = Path(__file__).parent.parent.parent
_LOOK_AGAIN = threading.Event()  # never set
_TICKS = os.sysconf("SC_CLK_TCK")
_CONFIG = """\
sources: [{{path: "{logs}", start_at: beginning}}]
pattern_files: {pattern_files}
rule_files: {rule_files}
state: {state}
http: {{listen: "127.0.0.1:0"}}
stale_after: {stale_after}
{receivers}
"""
_BYTECODE = tempfile.TemporaryDirectory()
NOBODY = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"


@dataclass(frozen=True)
class Spent:
    """What a reading of a file took: seconds on the clock and seconds of processor time."""

    clock: float
    cpu: float


def rest(seconds: float) -> None:
    """Let another process work."""
    _LOOK_AGAIN.wait(seconds)


@dataclass
class Daemon:
    """A running daemon, its state file and its logs' folder."""

    process: subprocess.Popen[bytes]
    folder: Path
    started: float
    port: int = 0
    notes: list[str] = field(default_factory=list)
    listening: threading.Event = field(default_factory=threading.Event)
    _db: sqlite3.Connection | None = None

    def offset(self) -> int:
        """Return the bytes read and committed, over all files; 0 while there is no state file."""
        path = self.folder / "state.db"
        if not path.exists():
            return 0
        try:
            # Opened once: to open it a hundred times a second takes a twentieth of a processor.
            self._db = self._db or sqlite3.connect(
                f"file:{path}?mode=ro", uri=True, check_same_thread=False
            )
            return int(self._db.execute("SELECT total(offset) FROM files").fetchone()[0])
        except sqlite3.OperationalError:  # the tables are being made
            return 0

    def wait_read(self, size: int, every: float = 0.01) -> float:
        """Wait until `size` bytes are read and committed; return the seconds since the start."""
        while self.offset() < size:
            if self.process.poll() is not None:
                raise SystemExit("the daemon ended early:\n" + "\n".join(self.notes))
            rest(every)
        return time.perf_counter() - self.started

    def commits(self) -> "Commits":
        return Commits(self.folder / "state.db")

    def wait_listening(self) -> None:
        self.listening.wait(30)
        if not self.port:
            raise SystemExit("the daemon did not start:\n" + "\n".join(self.notes))

    def metrics(self) -> str:
        self.wait_listening()
        with urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            text: str = answer.read().decode()
            return text

    def resident(self) -> float:
        """Return the resident memory in MB, that of a second process included."""
        return sum(_resident(pid) for pid in self._processes())

    def cpu_seconds(self) -> float:
        """Return the processor time spent, also that of a second process, running or ended."""
        return sum(_cpu_seconds(pid) for pid in self._processes())

    def _processes(self) -> list[int]:
        pid = self.process.pid
        of_threads = Path(f"/proc/{pid}/task").glob("*/children")
        return [pid, *(int(child) for path in of_threads for child in path.read_text().split())]

    def state_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.folder.glob("state.db*"))

    def stop(self) -> None:
        if self._db is not None:  # whoever closes the file last clears its log away
            self._db.close()
            self._db = None
        self.process.terminate()
        self.process.wait(timeout=60)


def _resident(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(li for li in status.splitlines() if li.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024 / 1e6


def _cpu_seconds(pid: int) -> float:
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, stat[11:15])) / _TICKS  # of itself and of its children that ended


class Commits:
    """Sees each commit of the daemon from outside: SQLite's data_version, 5 us a look."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False)

    def gaps(self, stop: threading.Event, every: float = 0.0005) -> list[float]:
        """Return the seconds between commits seen until `stop` is set."""
        gaps: list[float] = []
        version, last = self._version(), 0.0
        while not stop.wait(every):
            now = time.perf_counter()
            if (seen := self._version()) != version:
                version = seen
                if last:
                    gaps.append(now - last)
                last = now
        self._db.close()
        return gaps

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA data_version").fetchone()[0])


def write_config(
    folder: Path,
    logs: Path,
    *,
    rule_files: list[Path] | None = None,
    pattern_files: list[Path] | None = None,
    receivers: str = NOBODY,
    stale_after: str = "3650d",
    state: str = "",
) -> Path:
    """Write a configuration with what is shipped, or these rules and patterns, into `folder`."""
    files = [str(f) for f in rule_files or [ROOT / "rules" / "*.rules.yaml"]]
    patterns = [str(f) for f in pattern_files or [ROOT / "rules" / "agentops.patterns.yaml"]]
    config = folder / "sidecar.yaml"
    config.write_text(
        _CONFIG.format(
            logs=logs, rule_files=json.dumps(files), pattern_files=json.dumps(patterns),
            state=state or f'{{path: "{folder}/state.db"}}',
            receivers=receivers, stale_after=stale_after,
        )
    )  # fmt: skip
    return config


@contextmanager
def running(config: Path, *, listening: bool = True) -> Iterator[Daemon]:
    """Start the daemon on `config`, wait until it listens if asked to; kill it in the end."""
    command = [sys.executable, "-m", "sidecar", "run", "-c", str(config)]
    started = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, cwd=ROOT, env=_environment())
    daemon = Daemon(process, config.parent, started)
    reader = threading.Thread(target=_listen, args=(daemon,), daemon=True)
    reader.start()
    try:
        if listening:
            daemon.wait_listening()
        yield daemon
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        reader.join()


def _environment() -> dict[str, str]:
    """Return ours, with compiled modules kept as an installation has them."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": _BYTECODE.name}


def _listen(daemon: Daemon) -> None:
    """Read the daemon's log to its end, so that it never waits for us."""
    assert daemon.process.stderr is not None
    for raw in daemon.process.stderr:
        if b'"event": "listening"' in raw:
            daemon.port = int(json.loads(raw)["port"])
            daemon.listening.set()
        elif len(daemon.notes) < 50:
            daemon.notes.append(raw.decode().rstrip())
    daemon.process.stderr.close()
    daemon.listening.set()


def counted(exposition: str) -> int:
    """Return the sum over all series of webhook_events_total."""
    lines = exposition.splitlines()
    values = [li.rsplit(" ", 1)[1] for li in lines if li.startswith("webhook_events_total{")]
    return int(sum(map(float, values)))
