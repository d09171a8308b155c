"""Events that rules judge: against mtail, which only counts them, and Debian's `sec`, which judges.

The rows say which files flatter us: those whose events no rule needs are in `throughput`.
"""

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from bench import lines
from bench.daemon import ROOT, Spent, running, write_config
from bench.peers import missing, mtail_seconds, sec_seconds
from bench.stalls import watch
from bench.table import Row, faster, skipped, within
from bench.throughput import STARTS, Rates, sidecar_seconds

FAILED = ("invoice.payment_failed", "payment_failure")
PAID = ("invoice.payment_succeeded", "billing_period_paid")
SIX = (
    FAILED,
    ("customer.subscription.updated", "received"),
    ("customer.subscription.updated", "processed"),
    ("invoice.created", "usage_charges_added"),
    ("checkout.session.completed", "org_upgraded"),
    PAID,
)
# Not to be reached: the largest number that a count may be compared with.
_NEVER = "10000"
_NUMBERS = (
    "attempt_count) >= ", 'form="text") >= ', 'form="stripe") >= ', 'form!~"text|stripe") >= ',
)  # fmt: skip
_COUNT = """\
      - alert: Bench{number}
        match: []
        by: [org_id]
        condition: {condition}
        {within}
        labels: {{severity: info}}
        annotations: {{summary: bench}}
"""


FUNCTIONS = {
    "distinct(field)": "distinct(subscription_id) > 200",
    "sum(field)": "sum(attempt_count) > 100000",
    "a ratio": "count(attempt_count > 5) / count() > 0.9",
    "last()": "last(status) == unpaid",
    "offset": "count() > 3 * count() offset 1h and count() > 1000",
}
FIRSTS = {
    "changed(field)": "changed(attempt_count) > 1000",
    "new(field)": "new(attempt_count) > 1000",
    "percentile(field)": "percentile(attempt_count, 95) > 3",
    "last() =~": 'last(status) =~ "un.*"',
    "a comparison in a matcher": "count(attempt_count > 0) > 1000",
}
# Organisations, how many of ten events are judged, rules that judge each of them.
CHART = (
    *((orgs, 10, 1) for orgs in (50, 5_000, 100_000)),
    *((5_000, judged, 1) for judged in (0, 1, 5)),
    *((5_000, 10, rules) for rules in (10, 50)),
)
MONTH = 1_000_000_000  # bytes
_OWN = """\
patterns:
  - name: own
    json:
      where: {msg: webhook}
      take:
        event_type: event
        status: outcome
        webhook_provider: provider
        timestamp: ts
        org_id: customer.id
        subscription_id: subscription_id
        attempt_count: attempt_count
"""


class Case(NamedTuple):
    """A file, and what judges it: the shipped rules with PaymentFailing out of reach, as they are,
    or so many rules of one's own on every event.
    """

    kinds: Sequence[tuple[str, str]]
    must: float
    aim: float
    rules: str = "raised"
    peer: str = "mtail"
    orgs: int = lines.ORGANISATIONS


CASES = {
    "only payment_failure, below the threshold": Case([FAILED], 2.5, 4),
    "the same, against sec's threshold an organisation": Case([FAILED], 4, 6.5, peer="sec"),
    "six kinds alike, one of them payment_failure": Case(SIX, 3, 4.5),
    "only paid invoices": Case([PAID], 3, 4),
    "a user's rule count() > 1000 on every event": Case(SIX, 2.5, 3.5, rules="own"),
    "every key firing": Case([FAILED], 1, 1.5, rules="shipped"),
}


def write(path: Path, kinds: Sequence[tuple[str, str]], count: int, orgs: int) -> None:
    """Write `count` records of these kinds, of random organisations, over ten minutes."""
    pick = random.Random(11)
    at, apart = lines.start(), timedelta(minutes=10) / count

    def records() -> Iterator[lines.Record]:
        for number in range(count):
            kind, status = kinds[pick.randrange(len(kinds))]
            more: lines.Record = {"org_id": f"org_{pick.randrange(orgs):05}"}
            more["subscription_id"] = f"sub_{pick.getrandbits(32):08x}"
            if status == FAILED[1]:
                more["attempt_count"] = pick.choice((1, 1, 2))
            yield lines.event(at + apart * number, kind, status, **more)

    lines.write(path, records())


def write_rules(path: Path, rules: str, count: int = 1) -> list[Path]:
    """Return the rule files that `rules` stands for, written to `path` where they do not exist."""
    shipped = sorted((ROOT / "rules").glob("*.rules.yaml"))
    if rules == "shipped":
        return shipped
    if rules == "own":
        return write_own(path, [f"count() > {1000 + n}" for n in range(count)])
    text = (ROOT / "rules" / "billing.rules.yaml").read_text()
    for number in _NUMBERS:
        if f"{number}3" not in text:
            raise SystemExit(f"PaymentFailing has no `{number}3` any more")
        text = text.replace(f"{number}3", f"{number}{_NEVER}")
    path.write_text(text)
    return [path, *(one for one in shipped if one.name != "billing.rules.yaml")]


def write_own(path: Path, conditions: Sequence[str], within: str = "5m") -> list[Path]:
    """Write a rule of each condition, on every event of an organisation, to `path`; return it."""
    rules = [
        _COUNT.format(
            number=n, condition=one, within="" if one.startswith("last(") else f"within: {within}"
        )
        for n, one in enumerate(conditions)
    ]
    path.write_text("groups:\n  - name: bench\n    rules:\n" + "".join(rules))
    return [path]


def compare(name: str, count: int, runs: int, folder: Path) -> Row:
    case = CASES[name]
    log = folder / "judged.log"
    write(log, case.kinds, count, case.orgs)
    rule_files = write_rules(folder / "judging.yaml", case.rules)
    first = folder / "first.log"
    first.write_text(lines.failure(lines.start(), "org_first", 1))

    def ours(path: Path, events: int) -> Spent:
        return sidecar_seconds(path, events, rule_files)

    def theirs(path: Path, events: int) -> Spent:
        sec = case.peer == "sec"
        return sec_seconds(folder, path) if sec else mtail_seconds(path, '"', events)

    both = (ours, theirs)
    starts = [[reads(first, 1) for _ in range(STARTS)] for reads in both]
    spent = [[reads(log, count) for reads in both] for _ in range(runs)]
    log.unlink()
    mine, peer = (
        Rates.of(count, *one) for one in zip(zip(*spent, strict=True), starts, strict=True)
    )
    ratios = [a / b for a, b in zip(mine.lines, peer.lines, strict=True)]
    title, shown = f"{name}, lines/s", f"{case.peer} {peer}"
    return faster(title, str(mine), shown, ratios, must=case.must, aim=case.aim)


class Cpu:
    """Measures processor time by a log's line, start-up taken off; of several rule files."""

    def __init__(self, folder: Path) -> None:
        self.first = folder / "first.log"
        self.first.write_text(lines.failure(lines.start(), "org_first", 1))

    def of(
        self, log: Path, count: int, rules: list[Path], patterns: list[Path] | None = None
    ) -> float:
        """Return microseconds a line, of which `log` has `count`, all of them events."""
        start = sidecar_seconds(self.first, 1, rules).cpu
        return (sidecar_seconds(log, count, rules, patterns).cpu - start) / count * 1e6


def functions(count: int, folder: Path) -> list[Row]:
    """Return what a line costs that these functions look at, against one that count() does."""
    log, rules, cpu = folder / "functions.log", folder / "judging.yaml", Cpu(folder)
    write(log, [FAILED], count, lines.ORGANISATIONS)
    counting = cpu.of(log, count, write_own(rules, ["count() > 1000"]))

    def row(name: str, condition: str, must: float) -> Row:
        ratio = cpu.of(log, count, write_own(rules, [condition])) / counting
        return within(f"{name} against count(), processor time", [ratio], must, 1.25, "x")

    rows = [row(*one, 1.5) for one in FUNCTIONS.items()]
    rows += [row(*one, 2.0) for one in FIRSTS.items()]
    log.unlink()
    return rows


def replayed(folder: Path) -> Row:
    """Return what 30 days of 1 GB take through `replay --against`, by what one of them takes."""
    day, first = folder / "day.log", folder / "first.log"
    lines.write_days(day, MONTH // 30, 1)
    first.write_text(lines.failure(lines.start(), "org_first", 1))
    with tempfile.TemporaryDirectory() as name:
        ours = write_config(Path(name), day)
        raised = write_rules(folder / "judging.yaml", "raised")
        with tempfile.TemporaryDirectory() as other:
            theirs = write_config(Path(other), day, rule_files=raised)
            short, whole = (_replay_seconds(ours, theirs, log) for log in (first, day))
    day.unlink()
    took = [30 * (whole - short) + short]
    return within("30 days of 1 GB through replay --against, by one of them", took, 90, 60, "s")


def _replay_seconds(ours: Path, theirs: Path, log: Path) -> float:
    command = [sys.executable, "-m", "sidecar", "replay", "-c", str(ours), "--against", str(theirs)]
    began = time.perf_counter()
    subprocess.run([*command, str(log)], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    return time.perf_counter() - began


def quiet_key(count: int, folder: Path) -> Row:
    """Return the memory that each further organisation takes of which one event is remembered."""
    log, resident = folder / "quiet.log", []
    rules = write_own(folder / "judging.yaml", ["count() > 1000"], "30d")
    for orgs in (lines.ORGANISATIONS, count):
        at = lines.start()
        names = (f"org_{number % orgs:08}" for number in range(count))
        lines.write(log, (lines.event(at, *FAILED, org_id=name) for name in names))
        with tempfile.TemporaryDirectory() as name:
            config = write_config(Path(name), log, rule_files=rules)
            with running(config) as daemon:
                daemon.wait_read(log.stat().st_size)
                resident.append(daemon.resident())
    log.unlink()
    each = (resident[1] - resident[0]) * 1e6 / (count - lines.ORGANISATIONS)
    return within(f"memory a quiet key, of {count:,}", [each], 400, 200, "B")


def taken(count: int, runs: int, folder: Path) -> Row:
    """Return what a line costs that a JSON pattern takes, against one with the marker."""
    log, own = folder / "marked.log", folder / "own.log"
    write(log, SIX, count, lines.ORGANISATIONS)
    with log.open() as marked, own.open("w") as out:
        out.writelines(json.dumps(_as_own(json.loads(line))) + "\n" for line in marked)
    patterns = folder / "own.patterns.yaml"
    patterns.write_text(_OWN)
    rules, cpu = write_rules(folder / "judging.yaml", "raised"), Cpu(folder)
    ratios = [
        cpu.of(own, count, rules, [patterns]) / cpu.of(log, count, rules) for _ in range(runs)
    ]
    log.unlink()
    own.unlink()
    name = "a line that a JSON pattern takes, against the marker's, processor time"
    return within(name, ratios, 1.5, 1.2, "x")


def _as_own(record: lines.Record) -> lines.Record:
    """Return what another logger writes of the same event."""
    names = {"event_type": "event", "status": "outcome", "webhook_provider": "provider"}
    more = {names.get(n, n): value for n, value in record.items() if n != "metric_type"}
    more["ts"] = f"{more.pop('timestamp')}Z"
    more["customer"] = {"id": more.pop("org_id")}
    return {"level": "info", "msg": "webhook", **more}


def chart(count: int, folder: Path) -> str:
    """Return a table of what the cost of a line grows with, in microseconds of processor time."""
    log, path, cpu = folder / "chart.log", folder / "judging.yaml", Cpu(folder)

    def cost(orgs: int, judged: int, rules: int) -> str:
        kinds = [FAILED] * judged + [("invoice.created", "draft")] * (10 - judged)
        write(log, kinds, count, orgs)
        named = write_own(path, [f"count() > {1000 + n}" for n in range(rules)])
        path.write_text(
            path.read_text().replace("match: []", "match: ['status=\"payment_failure\"']")
        )
        return f"{cpu.of(log, count, named):.1f}"

    rows = ["| judged by | organisations | of ten events | us a line |", "|---|---|---|---|"]
    for orgs, judged, rules in CHART:
        rules_of = "1 rule" if rules == 1 else f"{rules} rules"
        rows.append(f"| {rules_of} | {orgs:,} | {judged} | {cost(orgs, judged, rules)} |")
    log.unlink()
    return "\n".join(rows)


def many_keys(count: int, runs: int, folder: Path) -> Row:
    """Return what a line costs of twenty times as many organisations."""
    log, rules = folder / "keys.log", write_rules(folder / "judging.yaml", "raised")
    cpu, ratios = Cpu(folder), []
    for _ in range(runs):
        spent = []
        for orgs in (lines.ORGANISATIONS, 20 * lines.ORGANISATIONS):
            write(log, [FAILED], count, orgs)
            spent.append(cpu.of(log, count, rules))
        ratios.append(spent[1] / spent[0])
    log.unlink()
    name = "100,000 organisations instead of 5,000, processor time a line"
    return within(name, ratios, 1.5, 1.25, "x")


def many_rules(count: int, folder: Path) -> list[Row]:
    """Return what each further rule on the same events costs, and the longest step with fifty."""
    log, rules = folder / "rules50.log", folder / "judging.yaml"
    write(log, [FAILED], count, lines.ORGANISATIONS)
    few = sidecar_seconds(log, count, write_rules(rules, "own", 10)).cpu
    with tempfile.TemporaryDirectory() as name:
        config = write_config(Path(name), log, rule_files=write_rules(rules, "own", 50))
        with running(config) as daemon:
            daemon.wait_read(1)
            gaps, _ = watch(daemon, log.stat().st_size, None)
    many = sidecar_seconds(log, count, write_rules(rules, "own", 50)).cpu
    log.unlink()
    return [
        within("each further rule on the same events, processor time a line",
               [(many - few) / 40 / count * 1e6], 3, 1, "us"),
        within("longest step with 50 rules on the same events", [max(gaps) * 1000], 100, 50, "ms"),
    ]  # fmt: skip


def measure(folder: Path, count: int, runs: int) -> list[Row]:
    rows = [
        skipped(name, f"install {', '.join(absent)}")
        if (absent := missing(case.peer))
        else compare(name, count, runs, folder)
        for name, case in CASES.items()
    ]
    return [
        *rows,
        many_keys(count, runs, folder),
        *many_rules(count // 8, folder),
        *functions(count // 2, folder),
        quiet_key(count // 2, folder),
        taken(count // 2, runs, folder),
        replayed(folder),
    ]
