"""Rows of the result: what was measured, against what, and whether it is enough."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table; `value` is what `must` and `aim` are held against."""

    measured: str
    ours: str
    peer: str
    result: str
    must: str
    aim: str
    verdict: str


def faster(
    name: str, ours: str, peer: str, ratios: Sequence[float], *, must: float, aim: float
) -> Row:
    """Return a row whose result is how many times better we are, higher is better."""
    middle = statistics.median(ratios)
    result = f"{middle:.1f} x ({min(ratios):.1f} to {max(ratios):.1f})"
    verdict = "aim" if middle >= aim else "must" if middle >= must else "MISSED"
    return Row(name, ours, peer, result, f"{must:g} x", f"{aim:g} x", verdict)


def within(name: str, values: Sequence[float], must: float, aim: float, unit: str) -> Row:
    """Return a row whose result is a cost, lower is better; `values` are repeated runs."""
    middle = statistics.median(values)
    spread = f" ({_figure(min(values))} to {_figure(max(values))})" if len(values) > 1 else ""
    verdict = "aim" if middle <= aim else "must" if middle <= must else "MISSED"
    result = f"{_figure(middle)} {unit}{spread}"
    return Row(name, "", "", result, f"{must:g} {unit}", f"{aim:g} {unit}", verdict)


def skipped(name: str, why: str) -> Row:
    return Row(name, "", "", f"skipped: {why}", "", "", "")


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of `values` do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def render(rows: Sequence[Row]) -> str:
    head = "| measured | sidecar | peer | result (spread) | must | aim | reached |"
    body = [
        f"| {r.measured} | {r.ours} | {r.peer} | {r.result} | {r.must} | {r.aim} | {r.verdict} |"
        for r in rows
    ]
    return "\n".join([head, "|---|---|---|---|---|---|---|", *body])


def _figure(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
