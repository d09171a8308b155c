"""The schemas: what is shipped is what is made, and schema and loader are of one mind."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from jsonschema.validators import Draft202012Validator

from sidecar.cli import main
from sidecar.cli.check import SCHEMAS
from sidecar.config.load import check_config, check_files
from sidecar.ruletest.cases import load_tests
from sidecar.syntax.faults import ConfigError, Fault
from support.config import ENVIRON
from support.schema import problems, validator, yaml_value

ROOT = Path(__file__).parents[2]
FAULTS = Path(__file__).parent / "faults"
FIXTURES = sorted(FAULTS.glob("*.yaml"))
SHIPPED = [ROOT / "sidecar.yaml", *sorted(ROOT.glob("rules/*.yaml"))]
_EDITOR_LINE = re.compile(r"# yaml-language-server: \$schema=(\S+)\n")

# Faults that no schema can see, by the reason; names of fixtures without their ending.
BEYOND = {
    "names that must be unique, or defined elsewhere": """
        alert-name-twice-across-files alert-name-twice group-twice metric-twice
        metric-family-twice pattern-twice receiver-twice source-twice label-also-in-by webhook-twice
        webhook-two-urls-of-one-name
        alertmanager-two-of-one-name
        unknown-receiver unknown-receiver-nothing-near two-template-files-of-one-name""",
    "names that only the sidecar may give": "own-field own-record-field own-provider",
    "what stands in other files, or in the environment": """
        no-rule-file-matches rule-file-does-not-exist rule-file-itself-faulty ca-file-missing
        secret-file-empty secret-file-missing template-file-broken variable-not-set
        vars-not-set variable-unclosed variable-value-is-not-shown
        tls-key-of-another-certificate tls-no-certificate owners-file-without-columns
        state-database-empty""",
    "a percent sign of a query": "directory-query-percent",
    "what libpq takes as an address": "state-database-of-another-kind",
    "a key that needs another for some of its values": "tls-clients-of-nobody",
    "what `defaults` of the file may say": "window-missing",
    "keys of one map that must be keys of another": "metric-values-of-no-label map-of-nothing",
    "languages of their own: templates, RE2, conditions": """
        annotation-template-broken annotation-unknown-label annotation-unknown-name
        collected-not-collected message-template-names message-template-go message-template-fails
        inline-template-broken bad-matcher-lookahead bad-matcher-regex bad-regex lookbehind
        redact-bad-pattern matches-everything field-of-no-group bad-condition bad-condition-in-block
        json-bad-regex condition-parenthesis text-list-for-a-number bad-source-prefix
        bad-source-timezone""",
    "a value left to `global`": """
        slack-neither-url-nor-token slack-both-in-global slack-without-channel
        all-entries-off webhooks-without-channel mail-without-smarthost mail-password-without-user
        mail-user-without-password pagerduty-keys""",
    "names that lead to other names": "fallback-that-leads-nowhere drill-of-no-rule",
    "numbers that rise or stay within bounds, lists of one, lists within a text": """
        metric-buckets-not-rising bad-port group-by-all-and-more mail-malformed-address
        mail-subject-twice mail-address-too-long""",
    "how YAML is written: an editor's YAML has no such traps, or reports them itself": """
        trap-octal trap-on-as-a-key trap-secret-is-not-shown trap-underscore-in-number
        trap-yes-for-true yaml-key-is-a-list yaml-tag yaml-merge-of-a-text""",
}
CASE_LESS: dict[str, Any] = {"name": "c", "alert_rule_test": []}
_BEYOND = {name for names in BEYOND.values() for name in names.split()}


@cache
def validator_of(kind: str) -> Draft202012Validator:
    return validator(SCHEMAS[kind]())


def kind_of(path: Path) -> str:
    kinds = {".rules.yaml": "rules", ".patterns.yaml": "patterns", ".test.yaml": "tests"}
    return next((kind for end, kind in kinds.items() if path.name.endswith(end)), "config")


def bare(path: Path) -> str:
    return path.name.partition(".")[0]


def load_faults(path: Path) -> list[Fault]:
    kind = kind_of(path)
    if kind == "config":
        found = check_config(str(path), ENVIRON).faults
    elif kind == "tests":
        found = faults_of_tests(path)
    elif kind == "rules":
        found = check_files([str(path)], [], []).faults
    else:
        found = check_files([], [str(path)], []).faults
    return [fault for fault in found if fault.severity == "error"]


def faults_of_tests(path: Path) -> tuple[Fault, ...]:
    try:
        load_tests(str(path))
    except ConfigError as wrong:
        return wrong.faults
    return ()


def schema_problems(path: Path) -> list[str]:
    try:
        value = yaml_value(path.read_text())
    except ValueError as wrong:
        return [str(wrong)]
    return problems(validator_of(kind_of(path)), value)


def test_schema_and_loader_come_to_the_same_verdict() -> None:
    refused = {bare(fixture) for fixture in FIXTURES if load_faults(fixture)}
    by_schema = {bare(fixture) for fixture in FIXTURES if schema_problems(fixture)}
    assert by_schema == refused - _BEYOND
    assert refused >= _BEYOND


def test_what_we_ship_passes_its_schema_and_names_it_to_editors() -> None:
    for path in SHIPPED:
        assert schema_problems(path) == [], path.name
        found = _EDITOR_LINE.match(path.read_text())
        assert found, path.name
        assert (path.parent / found[1]).resolve() == shipped(kind_of(path))


def shipped(name: str) -> Path:
    return ROOT / "docs" / "schema" / f"{name}.schema.json"


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_shipped_schema_is_what_the_command_prints(name: str) -> None:
    printed = CliRunner().invoke(main, ["schema", name])
    assert printed.exit_code == 0
    assert printed.output == shipped(name).read_text(), f"sidecar schema {name} > {shipped(name)}"


@pytest.mark.parametrize(
    "change",
    [
        {"tests": []},
        {"tests": 5},
        {"tests": [{"name": "c"}]},
        {"tests": [{**CASE_LESS, "start": []}]},
        {"tests": [{**CASE_LESS, "interval": "soon"}]},
        {"tests": [{**CASE_LESS, "input_events": [{"event_type": "x"}]}]},
        {"tests": [{**CASE_LESS, "input_events": [{"event_type": "x", "status": 5}]}]},
        {"tests": [{**CASE_LESS, "input_lines": [5]}]},
        {"tests": [{**CASE_LESS, "alert_rule_test": [{"eval_time": "1m"}]}]},
        {"rule_files": "a"},
        {"environment": {"A": 5}},
    ],
    ids=repr,
)
def test_schema_and_loader_refuse_the_same_test_files(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    (tmp_path / "good.rules.yaml").write_text("groups: []\n")
    path = tmp_path / "a.test.yaml"
    right = {"rule_files": ["good.rules.yaml"], "tests": [CASE_LESS]}
    path.write_text(json.dumps(right))
    assert (load_faults(path), schema_problems(path)) == ([], [])
    path.write_text(json.dumps({**right, **change}))
    assert load_faults(path)
    assert schema_problems(path)


def test_no_schema_says_what_no_validator_hears() -> None:
    known = {*Draft202012Validator.VALIDATORS, "$schema", "$defs", "title", "description"}
    known |= {"default", "then", "else"}
    for name in SCHEMAS:
        assert keywords(SCHEMAS[name]()) <= known, name


def keywords(schema: Any) -> set[str]:
    """Return the keywords of a schema and all within it; names of keys are none."""
    if not isinstance(schema, dict):
        return set()
    inner = [*schema.values(), *(one for v in schema.values() if isinstance(v, list) for one in v)]
    for table in ("properties", "patternProperties", "$defs"):
        if table in schema:
            inner.remove(schema[table])
            inner += schema[table].values()
    return set(schema).union(*map(keywords, inner))


def test_an_unknown_schema_is_wrong_usage() -> None:
    assert CliRunner().invoke(main, ["schema", "rule"]).exit_code == 2


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_key_has_a_description(name: str) -> None:
    schema = SCHEMAS[name]()
    missing = [
        path
        for path, keys in tables(schema, schema["$defs"], name)
        for key, sub in keys.items()
        if not described(sub, schema["$defs"])
        for path in (f"{path}.{key}",)
    ]
    assert missing == []


def described(schema: Any, defs: dict[str, Any]) -> bool:
    if isinstance(schema, bool) or "description" in schema:
        return True
    target = schema.get("$ref", "").removeprefix("#/$defs/")
    if target and "description" in defs[target]:
        return True
    inner = [*schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else ())]
    return any(described(one, defs) for one in inner)


def tables(schema: Any, defs: dict[str, Any], at: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each closed table of a schema with its keys."""
    if isinstance(schema, dict):
        if schema.get("additionalProperties") is False:
            yield at, schema["properties"]
        for name, sub in schema.items():
            yield from tables(sub, defs, f"{at}/{name}")
    elif isinstance(schema, list):
        for place, sub in enumerate(schema):
            yield from tables(sub, defs, f"{at}[{place}]")


# One document of each kind in which every table of the format stands.
SLACK = {"channel": "#a", "rate": {"burst": 1}}
MAIL = {"to": "a@example.com", "tls_config": {}, "rate": {"burst": 1}}
CONFIG = {
    "sources": [{"path": "a.log"}],
    "rule_files": ["files/good.rules.yaml"],
    "state": {},
    "http": {},
    "redact": {},
    "global": {"slack_app_token": "x", "smtp_from": "a@example.com", "smtp_smarthost": "m:25"},
    "route": {"receiver": "r", "group_by": [], "routes": [{"group_by": []}]},
    "receivers": [{"name": "r", "slack_configs": [SLACK], "email_configs": [MAIL]}],
}
STEP = {"after": "1h", "labels": {"severity": "critical"}}
RULE = {
    "alert": "A",
    "condition": "last(status) == x",
    "resolve": {"match": ["a=b"]},
    "labels": {"severity": "info"},
    "escalate": [STEP],
}
RULES = {
    "metrics": [{"name": "a", "help": "A.", "type": "histogram", "value": "n", "buckets": [1]}],
    "groups": [{"name": "g", "rules": [RULE]}],
}
STATES = {"name": "states", "help": "S.", "type": "gauge", "states_of": "A"}
PATTERN = {"name": "p", "regex": "x(?P<status>y)", "fields": {"event_type": "e"}}
MESSAGE = {"slack_text": {"equals": "x"}, "alerts": [{"labels": {}}]}
CASE = {
    "name": "c",
    "input_lines": [{"line": "x"}],
    "input_events": [{"event_type": "x", "status": "y"}],
    "alert_rule_test": [
        {"eval_time": "1m", "alertname": "A", "exp_alerts": [{"exp_labels": {"a": "b"}}]}
    ],
    "notification_test": [{"eval_time": "1m", "receiver": "r", "exp_notifications": [MESSAGE]}],
}
TESTS = {"rule_files": ["files/good.rules.yaml"], "tests": [CASE]}
DOCUMENTS: dict[str, dict[str, Any]] = {
    "config": CONFIG,
    "rules": RULES,
    "patterns": {"patterns": [PATTERN]},
}
STRANGE = "zzzzqqqq"


def places(kind: str) -> list[tuple[str, tuple[str | int, ...], set[str]]]:
    """Return each table of the example document: its path and the keys that the schema knows."""
    schema = SCHEMAS[kind]()

    def walk(sub: Any, value: Any, path: tuple[str | int, ...]) -> Iterator[Any]:
        sub = schema["$defs"].get(sub.get("$ref", "").removeprefix("#/$defs/"), sub)
        if isinstance(value, dict) and sub.get("additionalProperties") is False:
            yield kind, path, set(sub["properties"])
            for name, inner in value.items():
                yield from walk(sub["properties"][name], inner, (*path, name))
        elif isinstance(value, list) and value and "items" in sub:
            yield from walk(sub["items"], value[0], (*path, 0))

    return list(walk(schema, DOCUMENTS[kind], ()))


def known_to_loader(
    tmp_path: Path, kind: str, path: tuple[str | int, ...], **more: Any
) -> set[str]:
    """Return the keys that the loader says it knows in the table at `path`."""
    document = json.loads(json.dumps({**DOCUMENTS[kind], **more}))
    table = document
    for part in path:
        table = table[part]
    table[STRANGE] = 1
    (tmp_path / "files").mkdir(exist_ok=True)
    (tmp_path / "files" / "good.rules.yaml").write_text("groups: []\n")
    end = {"config": "yaml", "tests": "test.yaml"}.get(kind, f"{kind}.yaml")
    file = tmp_path / f"a.{end}"
    file.write_text(json.dumps(document))
    (fault,) = [fault for fault in load_faults(file) if STRANGE in fault.message]
    return set(fault.hint.removeprefix("known here: ").split(", "))


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_schema_and_loader_know_the_same_keys(tmp_path: Path, kind: str) -> None:
    found = places(kind)
    assert found
    for _, path, keys in found:
        known = known_to_loader(tmp_path, kind, path)
        if path == ("metrics", 0):
            known |= known_to_loader(tmp_path, kind, path, metrics=[STATES])
        assert keys == known, path
