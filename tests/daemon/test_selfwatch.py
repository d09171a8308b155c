"""Facts about the sidecar become events, and by the shipped rules alerts: when, and until when."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sidecar.batch import ReadBatch
from sidecar.config.settings import Config
from sidecar.core import Core, Step
from sidecar.daemon.selfwatch import HABITS, MAX_SUBJECTS, REMIND_SECONDS, Problem, SelfWatch
from sidecar.measure.series import EVENTS_TOTAL
from sidecar.notify.model import Receiver, Route
from sidecar.parse.event import Chunk, Event, LogFormat
from sidecar.receivers.slack.config import SlackConfig
from sidecar.render.renderer import Renderer
from sidecar.rows import SeriesRow
from sidecar.rules.alert import TransitionKind
from sidecar.rules.drift import Drift
from sidecar.rules.rule import Rule
from support.config import load_rule_files
from support.daemon import RULES

NOW = 1_793_788_200.0
OURS = load_rule_files([str(RULES / "sidecar.rules.yaml")]).rules
RUNBOOK = (RULES.parent / "docs" / "runbook.md").read_text()
CATCH_ALL = """\
groups:
  - name: g
    rules:
      - alert: NothingAtAll
        match: ['status=~".+"']
        condition: count() < 1
        within: 10m
        labels: {severity: warning}
      - alert: Anything
        match: ['status=~".+"']
        resolve: {match: ['status="ok"']}
        condition: count() >= 1
        within: 10m
        labels: {severity: warning}
"""


def statuses(events: list[Event]) -> list[str]:
    return [event.status for event in events]


class TestState:
    """A problem that is there or is not: a log that cannot be read."""

    KIND, SUBJECT = Problem.LOG_UNREADABLE, ("cannot read a.log",)
    PATIENCE = HABITS[Problem.LOG_UNREADABLE].patience

    def at(self, watch: SelfWatch, seconds: float, *, wrong: bool) -> list[str]:
        now = NOW + seconds
        present: Mapping[tuple[str, ...], dict[str, Any]] = {self.SUBJECT: {}} if wrong else {}
        watch.present(self.KIND, present, now)
        return statuses(watch.due_events(now))

    @pytest.mark.parametrize(
        ("looks", "said"),
        [
            pytest.param([(0, True)], [[]], id="nothing is said of what has only begun"),
            pytest.param([(0, True), (-1, False)], [[], []], id="nor ever, if it is soon over"),
            pytest.param([(0, True), (119, True), (120, True)], [[], [], ["problem"]], id="begins"),
            pytest.param([(0, True), (120, True), (121, True)], [[], ["problem"], []], id="once"),
            pytest.param(
                [(0, True), (120, True), (419, True), (420, True), (421, True)],
                [[], ["problem"], [], ["problem"], []],
                id="again after five minutes",
            ),
            pytest.param(
                [(0, True), (120, True), (121, False), (122, False)],
                [[], ["problem"], ["ok"], []],
                id="its end is said at once, and once",
            ),
            pytest.param(
                [(0, True), (100, False), (101, True), (200, True), (221, True)],
                [[], [], [], [], ["problem"]],
                id="patience begins anew",
            ),
            pytest.param(
                [(0, True), (120, True), (121, False), (122, True), (241, True), (242, True)],
                [[], ["problem"], ["ok"], [], [], ["problem"]],
                id="the next one needs patience as well",
            ),
            pytest.param(
                [(0, True), (-500, True), (-380, True)],
                [[], [], ["problem"]],
                id="a clock set back delays nothing for long",
            ),
        ],
    )
    def test_what_is_said_when(
        self, looks: list[tuple[float, bool]], said: list[list[str]]
    ) -> None:
        watch = SelfWatch()
        assert [self.at(watch, seconds, wrong=wrong) for seconds, wrong in looks] == said

    def test_of_very_many_only_some_are_told_apart(self) -> None:
        watch = SelfWatch()
        watch.present(self.KIND, {(f"cannot read {n}",): {} for n in range(1000)}, NOW)
        watch.present(self.KIND, {(f"cannot read {n}",): {} for n in range(1000)}, NOW + 120)
        assert len(watch.due_events(NOW + 120)) == MAX_SUBJECTS


class TestHappening:
    """A problem that happens and is past: a line that is no event."""

    @pytest.mark.parametrize(
        ("happens", "looks", "said"),
        [
            pytest.param([0], [0, 1, 400, 3599], [["problem"], [], [], []], id="said once"),
            pytest.param([0, 1, 2], [2], [["problem"]], id="many are one"),
            pytest.param([0], [0, 3600, 3601], [["problem"], ["ok"], []], id="over after an hour"),
            pytest.param([0, 10], [10, 3600, 3610], [["problem"], [], ["ok"]], id="of quiet"),
            pytest.param([0, 10], [0, 300, 301], [["problem"], ["problem"], []], id="goes on"),
        ],
    )
    def test_what_is_said_when(
        self, happens: list[float], looks: list[float], said: list[list[str]]
    ) -> None:
        watch, heard = SelfWatch(), []
        for look in looks:
            while happens and happens[0] <= look:
                watch.happened(Problem.REJECTS, ("malformed",), NOW + happens.pop(0))
            heard.append(statuses(watch.due_events(NOW + look)))
            if look == 0 and happens:
                watch.happened(Problem.REJECTS, ("malformed",), NOW + happens.pop(0))
        assert heard == said

    def test_a_clock_set_back_by_a_year_makes_none_last_that_long(self) -> None:
        watch, then = SelfWatch(), NOW - 365 * 86_400.0
        watch.happened(Problem.REJECTS, ("malformed",), NOW)
        watch.happened(Problem.REJECTS, ("too_long",), NOW)
        assert statuses(watch.due_events(NOW)) == ["problem", "problem"]
        watch.happened(Problem.REJECTS, ("malformed",), then)
        assert statuses(watch.due_events(then)) == ["ok"]
        watch.happened(Problem.REJECTS, ("malformed",), then + REMIND_SECONDS)
        assert statuses(watch.due_events(then + REMIND_SECONDS)) == ["problem"]

    def test_subjects_are_told_apart(self) -> None:
        watch = SelfWatch()
        watch.happened(Problem.REJECTS, ("malformed",), NOW)
        watch.happened(Problem.REJECTS, ("too_long",), NOW)
        assert [event.fields["reason"] for event in watch.due_events(NOW)] == [
            "malformed",
            "too_long",
        ]

    def test_a_delivery_ends_what_was_dead(self) -> None:
        watch, subject = SelfWatch(), ("team", "slack", "#team")
        watch.happened(Problem.DESTINATION_DEAD, subject, NOW)
        assert statuses(watch.due_events(NOW)) == ["problem"]
        watch.ended(Problem.DESTINATION_DEAD, subject)
        assert statuses(watch.due_events(NOW + 1)) == ["ok"]


def config_of(rules: tuple[Rule, ...]) -> Config:
    team = Receiver(name="team", configs={"slack": (SlackConfig(channel="#team"),)})
    route = Route(id="{}", receiver="team", group_by=("...",), group_wait=0.0, group_interval=1.0)
    return Config(
        path="sidecar.yaml", sources=(), patterns=(), metrics=(), state_path="state.db",
        rules=rules, route=route, receivers={"team": team},
    )  # fmt: skip


class Rows:
    """An empty state file."""

    def load(self, row: type[Any], /) -> list[Any]:
        del row
        return []


def core_of(*rules: Rule) -> Core:
    core = Core(config_of(rules))
    core.restore(Rows(), NOW)
    return core


def step(core: Core, now: float, data: bytes = b"") -> Step:
    chunk = Chunk(file=1, log="a.log", format=LogFormat.AUTO, data=data, start=0)
    return core.step(ReadBatch(chunks=[chunk] if data else []), now)


@pytest.mark.parametrize("kind", Problem)
class TestShippedRules:
    SUBJECTS: Mapping[Problem, tuple[str, ...]] = {
        kind: tuple(f"some {name}" for name in habit.names) for kind, habit in HABITS.items()
    }

    def told(self, watch: SelfWatch, core: Core, now: float) -> Step:
        core.note(watch.due_events(now))
        return step(core, now)

    def begun(self, kind: Problem) -> tuple[SelfWatch, Core, float, Step]:
        watch, core, now = SelfWatch(), core_of(*OURS), NOW + HABITS[kind].patience
        for at in (NOW, now):
            watch.present(kind, {self.SUBJECTS[kind]: {}}, at)
        return watch, core, now, self.told(watch, core, now)

    def test_each_problem_fires_one_alert_that_names_its_subject(self, kind: Problem) -> None:
        _, _, _, first = self.begun(kind)
        assert [t.kind for t in first.transitions] == [TransitionKind.FIRED]
        assert first.transitions[0].alert.key == self.SUBJECTS[kind]
        assert len(first.outbox) == 1

    def test_a_reminder_sends_nothing(self, kind: Problem) -> None:
        watch, core, now, _ = self.begun(kind)
        watch.present(kind, {self.SUBJECTS[kind]: {}}, now + REMIND_SECONDS)
        again = self.told(watch, core, now + REMIND_SECONDS)
        assert (again.transitions, again.outbox) == ([], [])

    def test_its_end_ends_the_alert(self, kind: Problem) -> None:
        watch, core, now, _ = self.begun(kind)
        watch.present(kind, {}, now + 1)
        last = self.told(watch, core, now + 1)
        assert [t.kind for t in last.transitions] == [TransitionKind.RESOLVED]

    def test_one_that_was_open_before_a_restart_and_is_over_is_ended(self, kind: Problem) -> None:
        _, core, now, _ = self.begun(kind)
        later = SelfWatch()
        later.restore(core.engine.alerts(), now + 1)
        later.present(kind, {}, now + 2)
        last = self.told(later, core, now + 2)
        assert [t.kind for t in last.transitions] == [TransitionKind.RESOLVED]

    def test_one_that_was_open_before_a_restart_and_goes_on_is_not_told_anew(
        self, kind: Problem
    ) -> None:
        _, core, now, _ = self.begun(kind)
        later = SelfWatch()
        later.restore(core.engine.alerts(), now + 1)
        later.present(kind, {self.SUBJECTS[kind]: {}}, now + 2)
        assert self.told(later, core, now + 2).transitions == []

    def test_the_message_can_be_rendered_without_any_details(self, kind: Problem) -> None:
        _, core, _, first = self.begun(kind)
        alert = first.transitions[0].alert
        values = {"value": alert.value, "labels": alert.labels, "event": alert.event}
        renderer = Renderer({}, core.redactor)
        texts = [renderer.text(text, name, values) for name, text in alert.annotations.items()]
        assert all(texts)


@pytest.mark.parametrize("rule", OURS, ids=lambda rule: rule.name)
class TestEachRule:
    def test_it_has_a_runbook_paragraph(self, rule: Rule) -> None:
        found = re.search(
            rf"^## {rule.name}\n\n(.+?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL
        )
        assert found, rule.name
        assert len(found[1]) > 100
        assert rule.annotations["runbook_url"] == f"docs/runbook.md#{rule.name.lower()}"

    def test_it_says_what_to_do_in_short(self, rule: Rule) -> None:
        assert set(rule.annotations) == {"summary", "description", "runbook_url"}
        assert len(rule.annotations["summary"]) < 160

    def test_the_runbook_names_its_severity(self, rule: Rule) -> None:
        assert f"## {rule.name}\n\n**{rule.severity.capitalize()}.**" in RUNBOOK


def test_a_log_that_cannot_be_read_is_told_though_time_stands_still_for_rules() -> None:
    watch, core = SelfWatch(), core_of(*OURS)
    told = []
    for seconds in (0, 60, 120, 121):
        batch = ReadBatch(problems=["cannot list /logs"], caught_up=False)
        watch.present(Problem.LOG_UNREADABLE, {("cannot list /logs",): {}}, NOW + seconds)
        core.note(watch.due_events(NOW + seconds))
        told += core.step(batch, NOW + seconds).outbox
    assert len(told) == 1


def series(kind: str, created: float, touched: float) -> SeriesRow:
    labels = {"provider": "stripe", "event_type": kind, "status": "s"}
    text = json.dumps(labels, sort_keys=True)
    return SeriesRow(EVENTS_TOTAL, text, "1", created=created, touched=touched)


class TestNews:
    """What no rule and no metric names is said once a day, whoever saw it."""

    DRIFT = Drift([])
    MORNING = NOW // 86_400 * 86_400
    ROWS = (
        series("old", MORNING - 1, MORNING + 60),
        series("new", MORNING + 30, MORNING + 60),
        series("newer", MORNING + 50, MORNING + 70),
    )

    def told(self, watch: SelfWatch, now: float, *fresh: SeriesRow) -> list[Any]:
        watch.follow(fresh, self.DRIFT, now)
        begun = [one.fields for one in watch.due_events(now) if one.status == "problem"]
        return [(one["number"], one["kinds"]) for one in begun]

    @pytest.mark.parametrize("hours", [0.5, 30], ids=["that day", "the day after"])
    def test_a_restart_forgets_none_of_it(self, hours: float) -> None:
        started = self.MORNING + hours * 3600
        watch = SelfWatch(started)
        watch.recall(self.ROWS, self.DRIFT)
        told = self.told(watch, started, series("fresh", started + 1, started + 1))
        told += self.told(watch, self.MORNING + 2 * 86_400)
        kinds = [f"stripe {kind} s" for kind in ("fresh", "new", "newer")]
        assert told == [(3, ", ".join(kinds))]

    def test_a_state_file_without_events_has_no_news(self) -> None:
        watch = SelfWatch(self.MORNING)
        watch.recall((), self.DRIFT)
        assert self.told(watch, self.MORNING + 86_400) == []


class TestOthers:
    @pytest.fixture
    def core(self, tmp_path: Path) -> Core:
        (tmp_path / "a.rules.yaml").write_text(CATCH_ALL)
        core = core_of(*load_rule_files([str(tmp_path / "a.rules.yaml")]).rules)
        step(core, NOW)
        return core

    def troubled(self, core: Core, now: float) -> Step:
        watch = SelfWatch()
        watch.happened(Problem.BYTES_LOST, ("a.log",), now)
        core.note(watch.due_events(now))
        return step(core, now)

    def test_a_rule_that_takes_anything_takes_no_event_about_us(self, core: Core) -> None:
        assert self.troubled(core, NOW + 1).transitions == []

    def test_an_absence_is_not_broken_by_an_event_about_us(self, core: Core) -> None:
        self.troubled(core, NOW + 300)
        assert [t.alert.name for t in step(core, NOW + 601).transitions] == ["NothingAtAll"]

    def test_events_about_us_count_in_no_series(self, core: Core) -> None:
        rows = self.troubled(core, NOW + 1).series
        assert not [row for row in rows if '"sidecar"' in row.labels]

    def test_rules_about_us_make_no_series_beforehand(self) -> None:
        rows = step(core_of(*OURS), NOW).series
        assert not [row for row in rows if "sidecar" in row.labels]


def test_what_a_host_of_a_fleet_says_of_itself_bears_its_name() -> None:
    for host, said in (("a", "a"), ("", None)):
        watch = SelfWatch(NOW, host)
        watch.present(Problem.RELOAD_FAILED, {(): {}}, NOW)
        (event,) = watch.due_events(NOW + HABITS[Problem.RELOAD_FAILED].patience)
        assert event.get("sidecar_host") == said
