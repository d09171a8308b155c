"""What every kind of receiver keeps to, from YAML to the other side; also one made up for tests."""

import ast
import asyncio
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from structlog.testing import capture_logs

import sidecar
from sidecar.cli.check import SCHEMAS
from sidecar.clock import SystemClock
from sidecar.config.load import check_config, load_config
from sidecar.config.settings import Config, settings_of
from sidecar.daemon.app import Daemon
from sidecar.notify.model import ReceiverConfig
from sidecar.receivers import KINDS, shipped_templates
from sidecar.receivers.base import Failed, FailureKind, Verdict
from sidecar.redact import Redactor
from sidecar.render.check import TemplateText
from sidecar.render.renderer import Renderer
from sidecar.secret import Secret
from sidecar.syntax.table import declared, document
from sidecar.web.metrics import SelfMetrics
from support.daemon import until
from support.kinds import CASES, Case, Server
from support.live import FAILING
from support.notify import notification
from support.pager import PAGER
from support.schema import problems, validator, yaml_value
from support.simulate import line, log, replayed

ROOT = Path(sidecar.__file__).parent
ALL = (*KINDS, PAGER)
CONFIG = """\
sources: [{{path: "{folder}/app.log", start_at: beginning}}]
rule_files: [a.rules.yaml]
state: {{path: "{folder}/state.db"}}
http: {{listen: "127.0.0.1:0"}}
stale_after: 3650d
global: {{{globals_}}}
route: {{receiver: team, group_by: ["..."], group_wait: 0s}}
receivers:
  - name: team
    {section}: [{entry}]
    max_age: {max_age}
"""


@pytest.fixture(params=[kind.name for kind in ALL])
def case(request: pytest.FixtureRequest) -> Case:
    assert request.param in CASES, f"tests/support/kinds.py has no case for {request.param}"
    return CASES[request.param]


@pytest.fixture
def server(case: Case) -> Iterator[Any]:
    with case.server() as server:
        yield server


def written(case: Case, folder: Path, port: int = 1, *, max_age: str = "1h") -> str:
    """Write a configuration with one entry of the kind; return its path."""
    (folder / "a.rules.yaml").write_text(FAILING)
    globals_, entry = case.globals_.format(port=port), case.entry.format(port=port)
    text = CONFIG.format(
        folder=folder, globals_=globals_, section=case.kind.section, entry=entry, max_age=max_age
    )
    path = folder / "sidecar.yaml"
    path.write_text(text)
    return str(path)


def loaded(case: Case, folder: Path, port: int = 1) -> Config:
    return load_config(written(case, folder, port), {}, ALL)


def entry_of(config: Config, case: Case) -> ReceiverConfig:
    (entry,) = config.receivers["team"].configs[case.kind.name]
    return entry


def test_names_and_sections_are_told_apart() -> None:
    assert len({kind.name for kind in ALL}) == len({kind.section for kind in ALL}) == len(ALL)


def test_its_name_is_a_label_and_its_section_a_list_of_configs(case: Case) -> None:
    assert re.fullmatch(r"[a-z]+", case.kind.name)
    assert case.kind.section == f"{case.kind.name}_configs"
    assert case.kind.at_once > 0


def test_check_takes_it_and_names_the_key_that_it_does_not_know(case: Case, tmp_path: Path) -> None:
    path = Path(written(case, tmp_path))
    assert check_config(str(path), {}, ALL).faults == ()
    path.write_text(path.read_text().replace("max_age: 1h", f"{case.kind.section[:-1]}: []"))
    (fault,) = check_config(str(path), {}, ALL).errors
    assert fault.hint == f"did you mean `{case.kind.section}`?"


def test_an_entry_is_off_where_what_it_asks_for_expands_to_nothing(
    case: Case, tmp_path: Path
) -> None:
    written_entry = case.entry.format(port=1)
    for keys in case.kind.config.asks:
        path = Path(written(case, tmp_path))
        blank = ", ".join(f"{key}: '${{NOT_SET:-}}'" for key in keys)
        path.write_text(path.read_text().replace(written_entry, f"{written_entry}, {{{blank}}}"))
        checked = check_config(str(path), {}, ALL)
        assert checked.config is not None
        assert len(checked.config.receivers["team"].configs[case.kind.name]) == 1
        assert checked.config.off == f"team: {case.kind.section}"
        (fault,) = checked.faults
        assert "expand" in fault.message
        path.write_text(path.read_text().replace(f"{written_entry}, ", ""))
        (fault,) = check_config(str(path), {}, ALL).errors
        assert fault.message == "receiver `team` has nobody to tell: all its entries are off"


def test_what_an_entry_does_not_say_is_taken_from_global(case: Case, tmp_path: Path) -> None:
    path = Path(written(case, tmp_path))
    whole = entry_of(load_config(str(path), {}, ALL), case)
    slots = {one.key.global_: one.field for one in declared(case.kind.config).values()}
    said = yaml_value(path.read_text())["global"]
    assert said.keys() <= slots.keys()
    bare = {one.field: one.default for one in declared(case.kind.config).values()}
    assert all(getattr(whole, slots[slot]) != bare[slots[slot]] for slot in said)


def test_an_editor_knows_its_keys(case: Case, tmp_path: Path) -> None:
    schema = document(settings_of(ALL), "Configuration")
    value = yaml_value(Path(written(case, tmp_path)).read_text())
    assert problems(validator(schema), value) == []
    value["receivers"][0][case.kind.section][0]["nonsense"] = 1
    assert problems(validator(schema), value) != []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_rule_test_can_ask_for_its_text(kind: Any) -> None:
    assert f"{kind.name}_text" in SCHEMAS["tests"]()["$defs"]["ExpectedMessage"]["properties"]


def test_whom_it_tells_is_said_without_a_secret(case: Case, tmp_path: Path) -> None:
    entry = entry_of(loaded(case, tmp_path), case)
    secrets = [v for one in declared(case.kind.config).values()
               if isinstance(v := getattr(entry, one.field), Secret)]  # fmt: skip
    held = [secret.reveal() for secret in secrets]
    assert all(any(one in text for one in case.secrets) for text in held)
    assert all(any(one in text for text in held) for one in case.secrets)
    assert entry.destinations()
    assert all(s not in f"{entry.destinations()} {entry!r}" for s in case.secrets)


def test_every_series_of_it_exists_at_0(case: Case, tmp_path: Path) -> None:
    metrics = SelfMetrics()
    metrics.expect(loaded(case, tmp_path))
    text = metrics.render(openmetrics=False)
    labels = f'integration="{case.kind.name}",'
    for kind in FailureKind:
        assert f'{labels}reason="{kind.value}",receiver="team"}} 0.0' in text


def test_a_replay_shows_its_message(case: Case, tmp_path: Path) -> None:
    lines = [line(1_793_606_400.0 + n, "failed", org_id="org_7") for n in range(2)]
    (message,) = replayed(loaded(case, tmp_path), log(lines))
    (copy,) = message.copies
    assert (copy.integration, copy.fault) == (case.kind.name, None)
    assert "org_7" in copy.text


def test_as_plain_text_it_still_says_all(case: Case, tmp_path: Path) -> None:
    entry = entry_of(loaded(case, tmp_path), case)
    rendering = Renderer(shipped_templates(ALL), Redactor()).rendering(notification())
    text = case.kind.render(entry, rendering, plain=True).text
    assert "PaymentFailing" in text
    assert "Payment failed 3 times for org_7f3a" in text


def test_no_template_of_it_costs_an_alert(case: Case, tmp_path: Path) -> None:
    entry = entry_of(loaded(case, tmp_path), case)
    (template,) = get_args(TemplateText)[1:]
    names = [d.field for d in declared(case.kind.config).values() if d.shape is template]
    assert bool(names) == bool(case.kind.templates())
    for name in names:
        rendering = Renderer({}, Redactor()).rendering(notification())
        broken = replace(entry, **{name: "{{ nope }}"})
        assert "PaymentFailing" in case.kind.render(broken, rendering, plain=False).text
        assert "'nope' is undefined" in (rendering.fault or "")


async def test_each_failure_has_its_verdict_and_gives_nothing_away(
    case: Case, server: Any, tmp_path: Path
) -> None:
    entry = entry_of(loaded(case, tmp_path, server.port), case)
    told = notification(integration=case.kind.name, destination=entry.destinations()[0])
    renderer = Renderer(shipped_templates(ALL), Redactor())
    payload = case.kind.render(entry, renderer.rendering(told), plain=False).payload
    async with case.kind.connect() as send:
        for how, kind, verdict in case.failures:
            server.fail(how)
            outcome = await send(entry, payload, told)
            assert isinstance(outcome, Failed), how
            assert (outcome.kind, outcome.verdict) == (kind, verdict), how
            assert not any(secret in repr(outcome) for secret in case.secrets)
    assert server.accepted() == []


async def test_a_message_that_waits_is_delivered_once_over_a_reload(
    case: Case, server: Any, tmp_path: Path
) -> None:
    assert case.failures[0][2] is Verdict.RETRY
    server.fail(case.failures[0][0])
    with capture_logs() as logged:
        metrics = await daemon_over_a_reload(case, server, tmp_path)
    (text,) = server.accepted()
    assert "org_7" in text
    with closing(sqlite3.connect(tmp_path / "state.db")) as db:
        rows = db.execute("SELECT integration, outcome, attempt, detail FROM outbox").fetchall()
    assert [row[:3] for row in rows] == [(case.kind.name, "sent", 2)]
    said = f"{logged} {metrics} {(tmp_path / 'state.db').read_bytes()!r}"
    assert "notification_failed" in said
    assert "notification_sent" in said
    assert not any(secret in said for secret in case.secrets)


async def daemon_over_a_reload(case: Case, server: Server, folder: Path) -> str:
    """Let an alert fire, reload between its two attempts, stop; return the self metrics."""
    stop, reloaded = asyncio.Event(), asyncio.Event()
    (folder / "app.log").touch()
    daemon = Daemon(
        loaded(case, folder, server.port),
        clock=SystemClock(),
        on_config=lambda _: reloaded.set(),
    )
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(daemon.run(stop))
        with (folder / "app.log").open("ab") as out:
            out.writelines(line(1_793_606_400.0, "failed", org_id="org_7") for _ in range(2))
        await asyncio.to_thread(until, lambda: server.attempts() == 1, "it is tried")
        written(case, folder, server.port, max_age="2h")
        daemon.ask_reload()
        await reloaded.wait()
        await asyncio.to_thread(until, lambda: bool(server.accepted()), "it is told")
        await asyncio.to_thread(until, lambda: daemon.telemetry.backlog.pending == 0, "it is noted")
        stop.set()
    return daemon.telemetry.metrics.render(openmetrics=False)


def test_nobody_but_a_kinds_own_folder_knows_it_by_name() -> None:
    """A kind is one folder and one entry in KINDS: nothing else asks which kind it has."""
    names = {word for kind in KINDS for word in (kind.name, kind.section, f"{kind.name}_text")}
    modules = [path.relative_to(ROOT.parent).with_suffix("") for path in ROOT.rglob("*.py")]
    folders = {
        ".".join(module.parts).removesuffix(".__init__")
        for module in modules
        if module.parts[1:-2] == ("receivers",)
    }
    found = []
    for path in ROOT.rglob("*.py"):
        place = path.relative_to(ROOT)
        if place.parts[0] == "receivers" and place.name != "base.py":
            continue
        # A file of its own, for other programs; a column of other people's tables; and what asks a
        # newcomer for the two usual kinds.
        if place.parts[0] in ("host", "directory") or place.name == "init.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and node.value in names:
                found.append(f"{place}:{node.lineno}: {node.value!r}")
            if isinstance(node, ast.ImportFrom) and node.module in folders:
                found.append(f"{place}:{node.lineno}: {node.module}")
    assert found == []
