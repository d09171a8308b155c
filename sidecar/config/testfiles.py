"""Test files, `*.test.yaml`: promtool's shape, with log lines and events in place of series."""

from dataclasses import replace
from os.path import normpath
from pathlib import Path

from sidecar.config.expectations import Known, read_alert_test, read_notification_test
from sidecar.config.faults import ConfigError, Fault, Faults, Names, Place
from sidecar.config.inputs import read_inputs, read_when
from sidecar.config.load import check_config
from sidecar.config.model import Config
from sidecar.config.patternfiles import read_pattern_files
from sidecar.config.reader import Reader
from sidecar.config.rulefiles import open_table, read_rule_files
from sidecar.config.settings import named_files
from sidecar.config.templates import shipped_templates
from sidecar.notify.model import Receiver, Route
from sidecar.simulate.cases import DEFAULT_INTERVAL, Case, Suite

_NOBODY = "nobody"
_HINTS = {
    "evaluation_interval": "rules are judged at each event and deadline; remove it",
    "group_eval_order": "the order of groups does not matter; remove it",
}
_CASE_HINTS = {
    "input_series": "write `input_lines` or `input_events`",
    "promql_expr_test": "there is no PromQL here; write `alert_rule_test`",
}


def load_tests(path: str) -> Suite:
    """Return the tests in `path`. Raises ConfigError with every fault of every file it names."""
    faults = Faults()
    reader = open_table(path, faults)
    suite = None if reader is None else _suite(reader, path)
    if suite is None or faults.errors:
        raise ConfigError(faults.errors)
    return suite


def _suite(reader: Reader, path: str) -> Suite:
    reader.require("tests")
    if not reader.has("config"):
        reader.require("rule_files")
    config = _config(reader, path)
    known = Known(
        frozenset(rule.name for rule in config.rules), frozenset(config.receivers) - {_NOBODY}
    )
    names = Names("test")
    cases = tuple(_case(entry, known, names) for entry in reader.tables("tests"))
    if reader.has("tests") and not reader.items("tests"):
        reader.faults.error(reader.place_of("tests"), "`tests` is empty")
    reader.close(_HINTS)
    return Suite(path, config, cases)


def _config(reader: Reader, path: str) -> Config:
    """Return what the tests are about: the configuration named, its files replaced by ours."""
    faults = reader.faults
    rules = read_rule_files(named_files(reader, "rule_files"), faults)
    patterns = tuple(read_pattern_files(named_files(reader, "pattern_files"), faults))
    base = _named_config(reader) or _unrouted(path)
    if reader.has("rule_files"):
        base = replace(base, rules=tuple(rules.rules), metrics=tuple(rules.metrics))
    return replace(base, patterns=patterns) if reader.has("pattern_files") else base


def _named_config(reader: Reader) -> Config | None:
    """Read the file that `config` names, its variables taken from `environment` alone."""
    given = {name: scalar.text for name, scalar in reader.texts_by_name("environment").items()}
    scalar = reader.scalar("config")
    if scalar is None:
        return None
    # As it is written, so that faults name the file the way the test file does.
    path = normpath(Path(scalar.place.file).parent / scalar.text)
    checked = check_config(path, given)
    for fault in checked.faults:
        if fault.severity == "error":
            place = Place(fault.file, fault.line, fault.column)
            reader.faults.error(place, fault.message, _hint(fault))
    return checked.config


def _hint(fault: Fault) -> str:
    """Say where variables are set for a test, which is not in the shell."""
    if "environment variable" not in fault.message:
        return fault.hint
    return "set it under `environment` of the test file, or give it a default"


def _unrouted(path: str) -> Config:
    """Return a configuration without anybody to tell."""
    return Config(
        path=path,
        sources=(),
        patterns=(),
        rules=(),
        metrics=(),
        templates=shipped_templates(),
        state_path="",
        route=Route(id="test", receiver=_NOBODY),
        receivers={_NOBODY: Receiver(name=_NOBODY)},
    )


def _case(reader: Reader, known: Known, names: Names) -> Case:
    reader.require("name")
    name = reader.text("name", "")
    if name:
        names.claim(name, reader.place_of("name"), reader.faults)
    start = read_when(reader, "start")
    if start is not None and not start.absolute:
        hint = "write for example 2026-11-02T08:00:00Z; other times may be offsets from it"
        reader.faults.error(reader.place_of("start"), "`start` is an absolute time", hint)
    case = Case(
        place=f"{reader.place.file}:{reader.place.line}:{reader.place.column}",
        name=name,
        start=None if start is None else start.seconds,
        interval=reader.duration("interval", DEFAULT_INTERVAL),
        inputs=read_inputs(reader),
        alert_tests=tuple(read_alert_test(r, known) for r in reader.tables("alert_rule_test")),
        notification_tests=tuple(
            read_notification_test(r, known) for r in reader.tables("notification_test")
        ),
    )
    _check_purpose(reader, known)
    reader.close(_CASE_HINTS)
    return case


def _check_purpose(reader: Reader, known: Known) -> None:
    """Report a test that cannot fail, and one that asks who is told where nobody can be."""
    if not reader.has("alert_rule_test") and not reader.has("notification_test"):
        hint = "write `alert_rule_test` or `notification_test`"
        reader.faults.error(reader.place, "the test expects nothing", hint)
    if reader.has("notification_test") and not known.receivers:
        hint = "name a sidecar.yaml with `config`"
        place = reader.key_place("notification_test")
        reader.faults.error(place, "`notification_test` needs receivers and routes", hint)
