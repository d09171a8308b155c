"""Rule files: `metrics:` and `groups:`, and what must be unique across all of them."""

from collections.abc import Iterable

import msgspec

from sidecar.config.alertrules import Group, read_labels, read_rule
from sidecar.config.faults import Faults, Names, Place, did_you_mean
from sidecar.config.files import read_text
from sidecar.config.metrics import read_metric
from sidecar.config.nodes import compose
from sidecar.config.reader import Reader, read_table
from sidecar.measure.metric import Metric
from sidecar.rules.rule import Function, Rule

_HINTS = {"rules": "rules stand in a group: groups: [{name: …, rules: […]}]"}


class RuleFiles(msgspec.Struct):
    """What the rule files read so far hold. Alerts and metrics are unique across files."""

    rules: list[Rule] = []
    metrics: list[Metric] = []
    alert_names: Names = msgspec.field(default_factory=lambda: Names("alert"))
    metric_names: Names = msgspec.field(default_factory=lambda: Names("metric"))
    states: list[tuple[Place, str]] = []  # alerts that metrics ask for


def read_rule_files(paths: Iterable[str], faults: Faults) -> RuleFiles:
    """Read every file in order; faults of all of them go to `faults`."""
    files = RuleFiles()
    for path in paths:
        reader = open_table(path, faults)
        if reader is not None:
            _read_file(reader, files)
    _check_states(files, faults)
    return files


def _check_states(files: RuleFiles, faults: Faults) -> None:
    """Report each `states_of` that names no `last()` rule of any of the files."""
    states = {rule.name: _is_state(rule) for rule in files.rules}
    for place, alert in files.states:
        if alert not in files.alert_names.places:
            hint = did_you_mean(alert, [name for name, known in states.items() if known])
            faults.error(place, f"there is no alert `{alert}`", hint)
        elif not states.get(alert, True):
            message = f"alert `{alert}` is no state"
            faults.error(place, message, "name a rule whose condition has last()")


def _is_state(rule: Rule) -> bool:
    return any(part.left.function is Function.LAST for part in rule.condition.comparisons)


def open_table(path: str, faults: Faults) -> Reader | None:
    """Return a reader for the table that a YAML file is, or None (reported)."""
    text = read_text(path, faults)
    root = None if text is None else compose(text, path, faults)
    return None if root is None else read_table(root, faults)


def _read_file(reader: Reader, files: RuleFiles) -> None:
    for entry in reader.tables("metrics"):
        metric = read_metric(entry)
        place = entry.place_of("name")
        if metric.states_of:
            files.states.append((entry.place_of("states_of"), metric.states_of))
        if metric.name and files.metric_names.claim(metric.name, place, reader.faults):
            files.metrics.append(metric)
    groups = Names("group")
    for entry in reader.tables("groups"):
        _read_group(entry, groups, files)
    reader.close(_HINTS)


def _read_group(reader: Reader, groups: Names, files: RuleFiles) -> None:
    reader.require("name", "rules")
    name = reader.text("name", "")
    if name:
        groups.claim(name, reader.place_of("name"), reader.faults)
    group = Group(name, read_labels(reader))
    for entry in reader.tables("rules"):
        rule = read_rule(entry, group)
        place = entry.place_of("alert")
        if rule.name and files.alert_names.claim(rule.name, place, reader.faults):
            files.rules.append(rule)
    reader.close()
