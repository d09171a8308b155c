"""Test files, `*.test.yaml`: promtool's shape, with log lines and events in place of series."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from os.path import normpath
from pathlib import Path
from typing import Annotated, ClassVar

from sidecar.config.faults import ConfigError, Fault, Faults, Names, Place, did_you_mean
from sidecar.config.load import check_config
from sidecar.config.model import Config
from sidecar.config.nodes import Listing, Node
from sidecar.config.patternfiles import read_pattern_files
from sidecar.config.rulefiles import open_file, read_rule_files
from sidecar.config.settings import Files, each_once
from sidecar.config.templates import shipped_templates
from sidecar.notify.model import Receiver, Route
from sidecar.simulate.cases import Case, Suite
from sidecar.syntax.table import Reading, Schema, Table, Value, key, table, text_of
from sidecar.syntax.types import Text, string

_NOBODY = "nobody"


def _beside(node: Node) -> str:
    # As it is written, so that faults name the file the way the test file does.
    return normpath(Path(node.place.file).parent / text_of(node).text)


@table
class CaseFile(Table):
    """Run by `sidecar test`; docs/testing.md."""

    hints: ClassVar[dict[str, str]] = {
        "evaluation_interval": "rules are judged at each event and deadline; remove it",
        "group_eval_order": "the order of groups does not matter; remove it",
    }
    schema: ClassVar[Schema] = {
        "allOf": [{"anyOf": [{"required": ["config"]}, {"required": ["rule_files"]}]}]
    }

    rule_files: Files = key("Globs of the rule files that are tested.", default=())
    pattern_files: Files = key("Globs of the pattern files that read the lines.", default=())
    environment: Mapping[str, Text] = key("Variables that `config` takes.", default={})
    config: Annotated[str | None, Value(_beside, "a path", string(), whole=True)] = key(
        "A sidecar.yaml whose routes and receivers are tested as well.", default=None
    )
    tests: tuple[Case, ...] = key("The cases.", schema={"minItems": 1})

    def check(self, reading: Reading) -> "CaseFile":
        written = reading.node(self).values
        if "config" not in written and "rule_files" not in written:
            reading.error(self, "", "`rule_files` is missing")
        tests = written.get("tests")
        if isinstance(tests, Listing) and not tests.items:
            reading.error(self, "tests", "`tests` is empty")
        return self


def load_tests(path: str) -> Suite:
    """Return the tests in `path`. Raises ConfigError with every fault of every file it names."""
    faults = Faults()
    reading = Reading(faults)
    file = reading.read(CaseFile, open_file(path, faults))
    suite = None if file is None else _suite(file, path, reading)
    if suite is None or faults.errors:
        raise ConfigError(faults.errors)
    return suite


def _suite(file: CaseFile, path: str, reading: Reading) -> Suite:
    config = _config(file, path, reading)
    alerts = {rule.name for rule in config.rules}
    receivers = config.receivers.keys() - {_NOBODY}
    names = Names("test")
    for case in file.tests:
        if case.name:
            names.claim(case.name, reading.place(case, "name"), reading.faults)
        if "notification_test" in reading.node(case).values and not receivers:
            message = "`notification_test` needs receivers and routes"
            hint = "name a sidecar.yaml with `config`"
            reading.error_at_key(case, "notification_test", message, hint)
        for one in case.alert_tests:
            _check_name(one, "alertname", "rule", alerts, reading)
        for other in case.notification_tests:
            _check_name(other, "receiver", "receiver", receivers, reading)
    return Suite(path, config, tuple(_placed(case, reading) for case in file.tests))


def _placed(case: Case, reading: Reading) -> Case:
    def at(made: object) -> str:
        place = reading.place(made)
        return f"{place.file}:{place.line}:{place.column}"

    return replace(
        case,
        place=at(case),
        alert_tests=tuple(replace(one, place=at(one)) for one in case.alert_tests),
        notification_tests=tuple(replace(one, place=at(one)) for one in case.notification_tests),
    )


def _check_name(
    made: object, name: str, kind: str, known: Collection[str], reading: Reading
) -> None:
    text = getattr(made, name)
    # Where there is none at all, that is the fault, and it is reported elsewhere.
    if text and known and text not in known:
        hint = did_you_mean(text, known, f"known: {', '.join(sorted(known))}")
        reading.error(made, name, f"there is no {kind} `{text}`", hint)


def _config(file: CaseFile, path: str, reading: Reading) -> Config:
    """Return what the tests are about: the configuration named, its files replaced by ours."""
    faults = reading.faults
    rules = read_rule_files(each_once(file.rule_files), faults)
    patterns = tuple(read_pattern_files(each_once(file.pattern_files), faults))
    base = (_named_config(file, faults) if file.config else None) or _unrouted(path)
    written = reading.node(file).values
    if "rule_files" in written:
        base = replace(base, rules=tuple(rules.rules), metrics=tuple(rules.metrics))
    return replace(base, patterns=patterns) if "pattern_files" in written else base


def _named_config(file: CaseFile, faults: Faults) -> Config | None:
    """Read the file that `config` names, its variables taken from `environment` alone."""
    checked = check_config(file.config or "", file.environment)
    for fault in checked.faults:
        if fault.severity == "error":
            place = Place(fault.file, fault.line, fault.column)
            faults.error(place, fault.message, _hint(fault))
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
