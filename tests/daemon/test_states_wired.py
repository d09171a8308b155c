"""The gauge of subscription states, from the host's own log to the rows of the state file."""

import json
import re
from collections import Counter
from pathlib import Path

from sidecar.batch import ReadBatch
from sidecar.config.load import check_files, unrouted
from sidecar.core import NOTHING_STORED, Core
from sidecar.parse.event import Chunk, LogFormat

ROOT = Path(__file__).parents[2]
LOG = ROOT / "tests" / "samples" / "agentops-host.log"
NOW = 1_793_788_200.0  # 2026-11-04 10:30 UTC, when the samples have just ended
_UPDATED = re.compile(r"Subscription updated for org (\S+): status=(\w+)")
_DELETED = re.compile(r"Removed all licenses for org (\S+) due to subscription (deletion)")


def test_each_organisation_counts_in_the_state_that_the_log_reported_last() -> None:
    rules = [str(ROOT / "rules" / "billing.rules.yaml")]
    patterns = [str(ROOT / "rules" / "agentops.patterns.yaml")]
    read = check_files(rules, patterns)
    core = Core(unrouted(read.rules, read.metrics, read.patterns))
    core.restore(NOTHING_STORED, NOW)
    whole = Chunk(1, str(LOG), LogFormat.AUTO, LOG.read_bytes(), 0)
    step = core.step(ReadBatch(chunks=[whole]), NOW)
    shown = {
        json.loads(row.labels)["status"]: int(row.value)
        for row in step.series
        if row.name == "webhook_subscriptions"
    }
    newest: dict[str, str] = {}
    for line in LOG.read_text().splitlines():
        found = _UPDATED.search(line) or _DELETED.search(line)
        if found:
            newest[found[1]] = found[2].replace("deletion", "canceled")
    assert {state: count for state, count in shown.items() if count} == Counter(newest.values())
    assert shown.keys() == {
        "active", "trialing", "past_due", "unpaid", "paused", "canceled", "incomplete",
        "incomplete_expired",
    }  # fmt: skip
