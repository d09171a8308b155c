"""kill -9 at any moment, while lines are written and the log is rotated: nothing twice or lost.

`KILLS=200` kills more often than the suite has time for; `make bench` does so.
"""

import itertools
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from support.crash import Boundary, Life, counted, in_doubt, messages, posted, run, start
from support.read import compress, rename
from support.setup import append, configure, record, slack_to, write_rule
from support.sinks import SlackSink

KILLS = int(os.environ.get("KILLS", "12"))
ROTATE_EVERY = 500  # lines
FAILED_EVERY = 50  # lines; three failures in a row are of one organisation
LINE = (
    "2026-11-02 08:04:45 - INFO - WEBHOOK_METRIC: {{'metric_type': 'WEBHOOK_METRIC', "
    "'webhook_provider': 'stripe', 'event_type': 'invoice.created', 'status': '{status}', "
    "'timestamp': '{at:%Y-%m-%dT%H:%M:%S.%f}', 'org_id': 'org_{org}'}}\n"
)
STATUSES = ("received", "usage_charges_added", "processed", "processing_error")


class Host:
    """Writes lines without pause and rotates its log, compressing all but the last rotated."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.written: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self._done = threading.Event()

    @property
    def due(self) -> set[str]:
        return {org for org, failures in self.failures.items() if failures == 3}

    @contextmanager
    def writing(self) -> Iterator[None]:
        thread = threading.Thread(target=self._write)
        thread.start()
        try:
            yield
        finally:
            self._done.set()
            thread.join()

    def _write(self) -> None:
        for rotation in itertools.count():
            with self.log.open("ab", buffering=0) as log:
                for number in range(ROTATE_EVERY):
                    self._write_line(log.fileno(), rotation * ROTATE_EVERY + number)
                    if self._done.is_set():
                        return
            rename(self.log, keep=300)
            last_but_one = self.log.with_name(f"{self.log.name}.2")
            if last_but_one.exists():
                compress(last_but_one)

    def _write_line(self, fd: int, number: int) -> None:
        """Write a line and count it; now and then it comes in two pieces."""
        failed = number % FAILED_EVERY == 0
        status = "failed" if failed else STATUSES[number % len(STATUSES)]
        org = number // (3 * FAILED_EVERY)
        line = LINE.format(status=status, org=org, at=datetime.now(UTC)).encode()
        cut = 40 if number % 7 == 0 else len(line)
        os.write(fd, line[:cut])
        self._done.wait(0.0005)  # leaves the daemon a share of the machine
        os.write(fd, line[cut:])
        self.written[status] += 1
        self.failures[f"org_{org}"] += failed


def test_counters_and_alerts_are_exact_after_kills_at_random_moments(tmp_path: Path) -> None:
    write_rule(tmp_path, 3)
    state = tmp_path / "state.db"
    host, doubted = Host(tmp_path / "app.log"), set[str]()
    pick = random.Random(20)
    with SlackSink() as slack:
        config = configure(tmp_path, slack_to(slack.url))
        # What was rotated before anybody had looked would be history.
        host.log.touch()
        assert run(Life(config)) == 0
        with host.writing():
            for _ in range(KILLS):
                daemon = start(config)
                # From before the state file is opened to well into the reading.
                daemon.join(pick.uniform(0.0, 0.7))
                daemon.kill()
                daemon.join()
                assert daemon.exitcode == -signal.SIGKILL
                daemon.close()
                doubted |= in_doubt(state)
        assert run(Life(config)) == 0
        by_slack = posted(slack)
    assert counted(state) == host.written
    assert messages(state) == Counter(("slack", org) for org in host.due)
    assert by_slack.keys() == host.due
    assert (by_slack - Counter(host.due)).keys() <= doubted


@pytest.mark.parametrize("boundary", Boundary)
def test_a_first_start_that_is_cut_off_is_followed_by_a_first_start(
    boundary: Boundary, tmp_path: Path
) -> None:
    write_rule(tmp_path, 3)
    append(tmp_path / "app.log", *(record("failed", "org_1") for _ in range(3)))
    config = configure(tmp_path, slack_to("http://127.0.0.1:9/"))
    # Else the history that this passes over would be told as if it were new.
    config.write_text(config.read_text().replace("start_at: beginning", "start_at: end"))
    assert run(Life(config, boundary=boundary)) == -signal.SIGKILL
    assert run(Life(config)) == 0
    assert not counted(tmp_path / "state.db")
