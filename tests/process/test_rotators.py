"""Real rotators against a running daemon, and one that was down: each line counts once.

`EVERY=1` lets each option of logrotate and each handler rotate, not one of each kind.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import zip_longest
from pathlib import Path

import pytest

from support.daemon import DaemonProcess, running, until
from support.live import FAILING
from support.rotators import LOGROTATE, stories
from support.sinks import SlackSink

CONFIG = """\
sources: [{sources}]
pattern_files: ["*.patterns.yaml"]
rule_files: ["*.rules.yaml"]
state: {{path: state.db}}
http: {{listen: "127.0.0.1:0"}}
route: {{receiver: slack}}
receivers: [{{name: slack, slack_configs: [{{channel: "#c", api_url_file: url}}]}}]
"""
PATTERN = """\
patterns: [{name: line, regex: '(?P<event_type>(?:line )?\\d+ of .+)$', fields: {status: written}}]
"""
STORIES = stories(every=bool(os.environ.get("EVERY")))

pytestmark = pytest.mark.skipif(
    LOGROTATE is None and not os.environ.get("CI"), reason="install Debian's logrotate"
)


@pytest.fixture
def logs(tmp_path: Path) -> Mapping[str, Path]:
    """Return a log for each story, in a folder of its own, all of them sources of one daemon."""
    found = {}
    for number, name in enumerate(STORIES):
        folder = tmp_path / f"logs{number}"
        folder.mkdir()
        found[name] = folder / f"app{number}.log"
    each = (f'{{path: "{log}", start_at: beginning}}' for log in found.values())
    (tmp_path / "sidecar.yaml").write_text(CONFIG.format(sources=", ".join(each)))
    (tmp_path / "line.patterns.yaml").write_text(PATTERN)
    (tmp_path / "a.rules.yaml").write_text(FAILING)
    return found


@contextmanager
def daemon_at(folder: Path) -> Iterator[DaemonProcess]:
    with SlackSink() as slack:
        (folder / "url").write_text(slack.url)
        with running(folder / "sidecar.yaml") as daemon:
            yield daemon


def counted(daemon: DaemonProcess) -> Counter[str]:
    return Counter({line: int(count) for (_, line, _), count in daemon.events().items()})


LOST = re.compile("sidecar_(?:bytes_lost|log_ends_unseen|log_overlong_lines)_total")


def each_counts_once(daemon: DaemonProcess, written: list[str]) -> None:
    with suppress(AssertionError):  # that says which lines are missing
        until(lambda: counted(daemon).total() >= len(written), "all is counted")
    count, all_of_them = counted(daemon), Counter(written)
    assert (count - all_of_them, all_of_them - count) == (Counter(), Counter())
    lost = {name: count for name, count in daemon.samples().items() if count and LOST.match(name)}
    assert lost == {}, [line for line in daemon.log if "lost" in line or "unseen" in line]


def rounds(logs: Mapping[str, Path]) -> Iterator[list[str]]:
    """Let every story go on by a turn, until all are told."""
    told = [tell(logs[name]) for name, tell in STORIES.items()]
    for lines in zip_longest(*told, fillvalue=[]):
        yield [line for some in lines for line in some]


def test_rotators_while_it_runs(tmp_path: Path, logs: Mapping[str, Path]) -> None:
    written: list[str] = []
    with daemon_at(tmp_path) as daemon:
        for lines in rounds(logs):
            written += lines
        each_counts_once(daemon, written)
    with daemon_at(tmp_path) as daemon:
        each_counts_once(daemon, written)


def test_rotators_while_it_is_down(tmp_path: Path, logs: Mapping[str, Path]) -> None:
    """It starts before anything is written, and is down for a turn, for another, and for three."""
    written: list[str] = []
    with daemon_at(tmp_path) as daemon:
        each_counts_once(daemon, written)
    for turn, lines in enumerate(rounds(logs)):
        written += lines
        if turn not in (2, 3):
            with daemon_at(tmp_path) as daemon:
                each_counts_once(daemon, written)
