"""Events that rules judge: against mtail, which only counts them, and Debian's `sec`, which judges.

The rows say which files flatter us: those whose events no rule needs are in `throughput`.
"""

import random
import tempfile
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
        within: 5m
        labels: {{severity: info}}
        annotations: {{summary: bench}}
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
        own = [_COUNT.format(number=n, condition=f"count() > {1000 + n}") for n in range(count)]
        path.write_text("groups:\n  - name: bench\n    rules:\n" + "".join(own))
        return [path]
    text = (ROOT / "rules" / "billing.rules.yaml").read_text()
    for number in _NUMBERS:
        text = text.replace(f"{number}3", f"{number}{_NEVER}")
    path.write_text(text)
    return [path, *(one for one in shipped if one.name != "billing.rules.yaml")]


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


def many_keys(count: int, runs: int, folder: Path) -> Row:
    """Return what a line costs of twenty times as many organisations."""
    log, rule_files = folder / "keys.log", write_rules(folder / "judging.yaml", "raised")
    ratios = []
    for _ in range(runs):
        spent = []
        for orgs in (lines.ORGANISATIONS, 20 * lines.ORGANISATIONS):
            write(log, [FAILED], count, orgs)
            spent.append(sidecar_seconds(log, count, rule_files).clock)
        ratios.append(spent[1] / spent[0])
    log.unlink()
    return within("100,000 organisations instead of 5,000, per line", ratios, 1.5, 1.25, "x")


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
    return [*rows, many_keys(count, runs, folder), *many_rules(count // 4, folder)]
