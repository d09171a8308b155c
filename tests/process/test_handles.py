"""A daemon with few handles, many files and one heap: it lives, is scraped, reads on and tells."""

import json
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sidecar.cli.run import CANNOT_START
from support.daemon import running, until
from support.live import CONFIG, FAILING
from support.setup import append, record
from support.sinks import SlackSink

pytestmark = pytest.mark.process


def set_up(folder: Path, slack: SlackSink, names: list[str]) -> Path:
    (folder / "logs").mkdir()
    for number, name in enumerate(names):
        append(folder / "logs" / name, record("processed", f"org_{number}", event_id=name))
    (folder / "a.rules.yaml").write_text(FAILING)
    (folder / "url").write_text(slack.url)
    config = folder / "sidecar.yaml"
    config.write_text(CONFIG.format(folder=folder))
    return config


@pytest.mark.parametrize(
    ("handles", "siblings", "logs"),
    [(64, 0, 300), (128, 300, 1), (256, 400, 1), (1024, 0, 1100)],
    ids=["the fewest", "few", "rotated siblings", "more logs than handles by default"],
)
def test_few_handles_cost_neither_the_start_nor_scrapes_nor_messages(
    tmp_path: Path, handles: int, siblings: int, logs: int
) -> None:
    names = [f"app.log.{number}" for number in range(1, siblings + 1)]
    names += [f"app{number or ''}.log" for number in range(logs)]
    limit = ("prlimit", f"--nofile={handles}:{handles}")
    with SlackSink() as slack:
        config = set_up(tmp_path, slack, names)
        with running(config, inside=limit) as daemon:
            append(tmp_path / "logs" / "app.log", record("failed"), record("failed"))
            with ThreadPoolExecutor(8) as scrapers:
                assert len(list(scrapers.map(daemon.get, ["/metrics"] * 40))) == 40
            until(lambda: bool(slack.requests), "Slack is told", timeout=60.0)
            until(lambda: sum(daemon.events().values()) >= logs + 2, "all is read", timeout=60.0)
            assert daemon.get("/-/healthy") == "healthy\n"
            held = len(list(Path(f"/proc/{daemon.process.pid}/fd").iterdir()))
            assert held <= handles // 2 + 20  # the others are for scrapes, deliveries and a reload
        said = [json.loads(line) for line in daemon.log]
    assert [line for line in said if "exception" in line] == []
    others = [line for line in said if line["event"] != "log_file_left_alone"]
    assert len(json.dumps(others)) < 10_000


def test_the_soft_limit_is_raised_as_far_as_the_hard_one_allows(tmp_path: Path) -> None:
    with (
        SlackSink() as slack,
        running(
            set_up(tmp_path, slack, ["app.log"]), inside=("prlimit", "--nofile=64:2048")
        ) as one,
    ):
        lines = Path(f"/proc/{one.process.pid}/limits").read_text().splitlines()
        (soft,) = [line.split()[3] for line in lines if line.startswith("Max open files")]
        assert soft == "2048"


ARENA = 64 << 20  # HEAP_MAX_SIZE of glibc on machines of 64 bits: reserved and aligned so


def arenas(process: int) -> int:
    """Return how many heaps besides the main one the process has, each for some of its threads."""
    maps = Path(f"/proc/{process}/maps").read_text().splitlines()
    nameless = [line.split()[:2] for line in maps if len(line.split()) == 5]
    spans = {
        (int(begin, 16), int(end, 16), mode)
        for begin, _, end, mode in ((*span.partition("-"), mode) for span, mode in nameless)
    }
    return sum(
        mode == "rw-p" and begin % ARENA == 0 and (end, begin + ARENA, "---p") in spans
        for begin, end, mode in spans
    )


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has several heaps")
def test_threads_have_no_heaps_of_their_own(tmp_path: Path) -> None:
    with SlackSink() as slack, running(set_up(tmp_path, slack, ["app.log"])) as daemon:
        append(tmp_path / "logs" / "app.log", record("failed"), record("failed"))
        until(lambda: bool(slack.requests), "Slack is told")
        assert len(list(Path(f"/proc/{daemon.process.pid}/task").iterdir())) > 1
        assert arenas(daemon.process.pid) == 0


def test_too_few_handles_are_said_in_one_sentence(tmp_path: Path) -> None:
    with SlackSink() as slack:
        config = set_up(tmp_path, slack, ["app.log"])
    command = ("prlimit", "--nofile=32:32", sys.executable, "-m", "sidecar", "run", "-c")
    ended = subprocess.run(
        [*command, str(config)], check=False, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == CANNOT_START
    assert ended.stderr == (
        "sidecar: this process may open 32 files, too few to read logs and to tell anybody;"
        " allow 64 at least, better 256 (`ulimit -n 256`, systemd's LimitNOFILE)\n"
    )
