"""A soak: numbered lines at a steady rate through rotation by size, with kill -9 now and then.

In the first two thirds the daemon is killed at random moments; in the last it lives, and its
memory is watched. By hand: `PYTHONPATH=tests python -m bench.soak --seconds 600 --rate 10000`.
"""

import argparse
import contextlib
import gzip
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bench.daemon import ROOT, Daemon, counted, rest, running, write_config
from bench.table import Row, within

RATE = 10_000  # lines a second
KILLS = 200
SLOTS = 200
_BURST = 100  # lines a write
_ROTATE_AT = 8_000_000  # bytes
_KEEP = 40
_RULES = """\
metrics:
  - name: soak_numbers_total
    help: The sum of the numbers of the lines.
    type: counter
    value: number
    match: ['event_type="soak"']
    labels: {slot: status}
"""
_SAMPLE = re.compile(r'(webhook_events_total|soak_numbers_total)\{.*?"(slot_\d+)"\} (\S+)')


def write(log: Path, rate: int) -> int:
    """Write numbered lines until stdin ends, rotating; return how many were written."""
    number, turn, begun = 0, 0, time.perf_counter()
    while not _ended():
        fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        while os.fstat(fd).st_size < _ROTATE_AT and not _ended():
            block = b"".join(_line(n) for n in range(number, number + _BURST))
            cut = number % len(block)  # most writes end, and begin, inside a line
            os.write(fd, block[:cut])
            os.write(fd, block[cut:])
            number += _BURST
            rest(begun + number / rate - time.perf_counter())
        os.close(fd)
        turn += 1
        _rotate(log, turn)
    return number


def _line(number: int) -> bytes:
    record = {
        "metric_type": "WEBHOOK_METRIC", "webhook_provider": "stripe", "event_type": "soak",
        "status": f"slot_{number % SLOTS}", "timestamp": datetime.now(UTC).isoformat(),
        "number": number,
    }  # fmt: skip
    return json.dumps(record).encode() + b"\n"


def _rotate(log: Path, turn: int) -> None:
    """Rotate by rename or, each third time, by copytruncate; compress all but the youngest."""
    for age in range(_KEEP, 0, -1):
        for ending in ("", ".gz"):
            old = log.with_name(f"{log.name}.{age}{ending}")
            if old.exists():
                old.rename(log.with_name(f"{log.name}.{age + 1}{ending}"))
    if turn % 3:
        log.rename(log.with_name(f"{log.name}.1"))
    else:
        shutil.copyfile(log, log.with_name(f"{log.name}.1"))
        os.truncate(log, 0)
    last_but_one = log.with_name(f"{log.name}.2")
    if last_but_one.exists():
        zipped = log.with_name(f"{log.name}.2.gz")
        zipped.write_bytes(gzip.compress(last_but_one.read_bytes(), 1))
        last_but_one.unlink()


def _ended() -> bool:
    """Tell whether stdin is closed."""
    with contextlib.suppress(BlockingIOError):
        return os.read(0, 1) == b""
    return False


@dataclass
class Soak:
    """What was seen while it went on."""

    kills: int = 0
    resident: list[float] = field(default_factory=list)
    undisturbed: list[float] = field(default_factory=list)
    written: int = 0
    missing: int = 0
    twice: int = 0
    wrong: int = 0  # slots whose numbers do not sum up though their count is right
    behind: float = 0.0


def soak(folder: Path, seconds: float, rate: int = RATE, seed: int = 3) -> Soak:
    """Run it in `folder` for `seconds`; `rate` is in lines a second."""
    seen, pick = Soak(), random.Random(seed)
    log, rules = folder / "soak.log", folder / "soak.rules.yaml"
    rules.write_text(_RULES)
    config = write_config(folder, log, rule_files=[rules])
    command = [sys.executable, __file__, "--write", str(log), "--rate", str(rate)]
    with running(config) as daemon:  # what is rotated before its very first look is history
        daemon.wait_listening()
        host = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        daemon.wait_read(1)
    assert host.stdin is not None
    assert host.stdout is not None
    until = time.monotonic() + seconds * 2 / 3
    while time.monotonic() < until:
        with running(config) as daemon:
            _watch(daemon, pick.uniform(0.5, 15.0), seen.resident)
            daemon.process.kill()
            seen.kills += 1
    with running(config) as daemon:
        _watch(daemon, seconds / 3, seen.undisturbed)
        host.stdin.close()
        seen.written = int(host.stdout.read())
        begun = time.monotonic()
        _wait_counted(daemon, seen.written)
        seen.behind = time.monotonic() - begun
        _compare(daemon.metrics(), seen)
        daemon.stop()
    host.wait()
    host.stdout.close()
    return seen


def _watch(daemon: Daemon, seconds: float, resident: list[float]) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        rest(min(1.0, left))
        resident.append(daemon.resident())


def _wait_counted(daemon: Daemon, written: int) -> None:
    """Wait until all is counted, or for half a minute nothing more is."""
    last, since = -1, time.monotonic()
    while (now := counted(daemon.metrics())) < written and time.monotonic() - since < 30:
        if now != last:
            last, since = now, time.monotonic()
        rest(0.1)


def _compare(exposition: str, seen: Soak) -> None:
    """Hold what was counted, and the sum of its numbers, against what was written, by slot."""
    count, total = Counter[str](), Counter[str]()
    for name, slot, value in _SAMPLE.findall(exposition):
        (count if name == "webhook_events_total" else total)[slot] += int(float(value))
    for slot in range(SLOTS):
        numbers = range(slot, seen.written, SLOTS)
        surplus = count[f"slot_{slot}"] - len(numbers)
        seen.missing += max(0, -surplus)
        seen.twice += max(0, surplus)
        seen.wrong += not surplus and total[f"slot_{slot}"] != sum(numbers)


def measure(folder: Path, seconds: float) -> list[Row]:
    home = folder / "soak"
    home.mkdir()
    seen = soak(home, seconds)
    shutil.rmtree(home)
    half = len(seen.undisturbed) // 2
    early, late = max(seen.undisturbed[:half]), max(seen.undisturbed[half:])
    name = f"soak: {seen.written:,} lines at {RATE:,}/s, {seen.kills} x kill -9"
    resident = [*seen.resident, *seen.undisturbed]
    return [
        within(f"{name}: missing", [seen.missing + seen.wrong], 0, 0, "lines"),
        within(f"{name}: counted twice", [seen.twice], 0, 0, "lines"),
        within(
            f"soak: memory {min(resident):.0f} to {max(resident):.0f} MB, growth while undisturbed",
            [late - early], 10, 2, "MB",
        ),
        within("soak: behind at the end", [seen.behind], 5, 1, "s"),
        within(
            f"{KILLS} x kill -9 at random moments: counters or alerts wrong", [_killed_often()],
            0, 0, "tests",
        ),
    ]  # fmt: skip


def _killed_often() -> int:
    """Run the suite's own test with more kills than it has time for; return 1 if it fails."""
    command = [sys.executable, "-m", "pytest", "-q", "tests/process/test_kill.py"]
    environment = {**os.environ, "KILLS": str(KILLS)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(done.stdout[-2000:])
    return int(done.returncode != 0)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=120)
    options.add_argument("--rate", type=int, default=RATE)
    options.add_argument("--seed", type=int, default=3)
    options.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.write:
        os.set_blocking(0, False)
        print(write(chosen.write, chosen.rate))
        return
    with tempfile.TemporaryDirectory() as folder:
        seen = soak(Path(folder), chosen.seconds, chosen.rate, chosen.seed)
    print(
        f"{seen.written:,} lines written, {seen.kills} kills\n"
        f"missing {seen.missing}, counted twice {seen.twice}, slots with wrong sums {seen.wrong}\n"
        f"behind at the end {seen.behind:.1f} s\n"
        f"memory between kills {min(seen.resident):.1f} to {max(seen.resident):.1f} MB\n"
        f"memory undisturbed, each second: {' '.join(f'{mb:.0f}' for mb in seen.undisturbed)}"
    )
    sys.exit(1 if seen.missing or seen.twice or seen.wrong else 0)


if __name__ == "__main__":
    main()
