"""What must not grow: the cost of a line with the rules, memory and state with the events."""

import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from bench import lines
from bench.daemon import running, write_config
from bench.table import Row, within

_RULE = """\
      - alert: Bench{number}
        match: {match}
        by: [org_id]
        condition: count() >= 10000
        within: 1h
        labels: {{severity: info}}
        annotations: {{summary: bench}}
"""


def write_rules(path: Path, count: int) -> None:
    """Write `count` rules: half on event types of their own, half on one and a field of it."""
    with path.open("w") as out:
        out.write("groups:\n  - name: bench\n    rules:\n")
        for number in range(count):
            match = (
                f"['event_type=\"bench.type{number}\"']"
                if number % 2
                else f"['event_type=\"invoice.created\"', 'org_id=\"org_{number:012x}\"']"
            )
            out.write(_RULE.format(number=number, match=match))


def seconds(log: Path, rules: Path) -> float:
    """Return how long reading `log` takes from the first committed step on."""
    with tempfile.TemporaryDirectory() as name:
        config = write_config(Path(name), log, rule_files=[rules])
        with running(config) as daemon:
            return daemon.wait_read(log.stat().st_size) - daemon.wait_read(0)


def rules_row(folder: Path, count: int, runs: int) -> Row:
    log = folder / "rules.log"
    lines.write_json(log, count)
    few, many = folder / "few.rules.yaml", folder / "many.rules.yaml"
    write_rules(few, 10)
    write_rules(many, 1000)
    ratios = []
    for _ in range(runs):
        first = seconds(log, few)
        ratios.append(seconds(log, many) / first)
    log.unlink()
    return within("1,000 rules against 10, per line", ratios, 2, 1.2, "x")


def organisations(count: int, in_window: int) -> Iterator[lines.Record]:
    """Yield one failed payment of each of `count` organisations; the last ones are in a window.

    The events lie evenly over as many windows of 30 days as `in_window` goes into `count`.
    """
    apart = timedelta(days=30) / in_window
    at = lines.start() - apart * count
    for number in range(count):
        at += apart
        yield lines.event(
            at, "invoice.payment_failed", "payment_failure", org_id=f"org_{number:012x}",
            attempt_count=1,
        )  # fmt: skip


def memory_rows(folder: Path, count: int) -> tuple[list[Row], Path]:
    """Return the rows, and the folder with a daemon's state of a tenth of `count` stored keys."""
    home = folder / "organisations"
    home.mkdir()
    log = home / "organisations.log"
    lines.write(log, organisations(count, count // 10))
    with running(write_config(home, log)) as daemon:
        daemon.wait_read(log.stat().st_size, every=0.1)
        resident = daemon.resident()
        daemon.stop()
    name = f"{count:,} organisations seen, {count // 10:,} with open windows: resident memory"
    return [within(name, [resident], 400, 250, "MB")], home


def state_row(folder: Path, count: int) -> Row:
    """Return how the state file grows when the same keys see four times as many events.

    The id of an event is that of its organisation: shipped PaidButNotServedUnnamed has a key for
    each event that served somebody within seven days.
    """
    sizes = []
    for events in (count // 4, count):
        log = folder / f"state{events}.log"
        everyday = (record for _, record in lines.records(events))
        lines.write(log, ({**one, "event_id": f"evt_{one['org_id']}"} for one in everyday))
        with (
            tempfile.TemporaryDirectory() as name,
            running(write_config(Path(name), log)) as daemon,
        ):
            daemon.wait_read(log.stat().st_size)
            daemon.stop()
            sizes.append(daemon.state_bytes())
        log.unlink()
    text = f"state file after {count // 4:,} and {count:,} events of {lines.ORGANISATIONS:,} keys"
    return within(
        f"{text}: {sizes[0] / 1e6:.1f} and {sizes[1] / 1e6:.1f} MB; growth",
        [sizes[1] / sizes[0]], 1.5, 1.2, "x",
    )  # fmt: skip


def measure(folder: Path, count: int, runs: int) -> tuple[list[Row], Path]:
    rows = [rules_row(folder, count // 2, runs), state_row(folder, count // 2)]
    memory, home = memory_rows(folder, count)
    return [*rows, *memory], home
