"""Configurations, events and logs for tests of the simulated clock."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from sidecar.config.load import load_config
from sidecar.config.settings import Config
from sidecar.notify.model import Receiver, Route
from sidecar.parse.event import Chunk, Event, LogFormat
from sidecar.receivers import shipped_templates
from sidecar.receivers.email.config import EmailConfig
from sidecar.receivers.slack.config import SlackConfig
from sidecar.simulate.messages import Message, ToldAlert
from sidecar.simulate.replay import Replay, ReplayedLog
from support.config import load_rule_files

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "tests" / "samples"
# What sidecar.yaml takes from the environment.
ENVIRON = {
    "SLACK_BOT_TOKEN": "xoxb-test",
    "SMTP_SMARTHOST": "mail.example.com:587",
    "ONCALL_EMAIL": "oncall@example.com",
    "TEAM_EMAIL": "team@example.com",
}
DAY, HOUR, MINUTE = 86_400.0, 3_600.0, 60.0
T0 = datetime(2026, 11, 2, 8, tzinfo=UTC).timestamp()
# The wall clock of replays: after everything in the samples.
CLOCK = datetime(2026, 11, 30, tzinfo=UTC).timestamp()
ROUTE = Route(id="root", receiver="team", group_by=("...",), group_wait=0.0, cooldown=0.0)
TEAM = Receiver(
    name="team",
    configs={
        "slack": (SlackConfig(channel="#team"),),
        "email": (
            EmailConfig(to=("a@example.com",), from_="s@example.com", smarthost=(("m", 25),)),
        ),
    },
)


@cache
def shipped() -> Config:
    """Return the shipped configuration."""
    return load_config(str(ROOT / "sidecar.yaml"), ENVIRON)


def config(folder: Path, rules: str, route: Route = ROUTE, **more: Any) -> Config:
    """Return a configuration with the `rules:` entries in `rules` and the receiver `team`."""
    path = folder / "a.rules.yaml"
    path.write_text(f"groups:\n- name: g\n  rules:\n{rules}")
    base = Config(
        path=str(path),
        sources=(),
        patterns=(),
        rules=load_rule_files([str(path)]).rules,
        metrics=(),
        templates=shipped_templates(),
        state_path="",
        route=route,
        receivers={"team": TEAM},
    )
    return replace(base, **more)


_STATED = re.compile(r"(\S+ \S+) - \w+ - Org (\S+) subscription is \w+\. (\d+) days left")
_OVER = re.compile(
    r"(?:updated for org|licenses for org) ([^\s:]+)(?:: status=(?!past_due|unpaid)| due)"
)


def stated_over(lines: Iterable[str]) -> set[str]:
    """Return whose grace period was over at the end of the host's log, by the days it had left."""
    due: dict[str, datetime] = {}
    at = datetime(1970, 1, 1)  # noqa: DTZ001 - as the host prints it, without a zone
    for text in lines:
        if found := _STATED.match(text):
            at = datetime.fromisoformat(found[1])
            due[found[2]] = at + timedelta(days=int(found[3]) + 1)
        elif found := _OVER.search(text):
            due.pop(found[1], None)
        elif found := re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", text):
            at = datetime.fromisoformat(found[0])
    return {org for org, end in due.items() if end <= at}


def event(at: float, status: str = "s", event_type: str = "x", **fields: Any) -> Event:
    return Event("stripe", event_type, status, at, fields)


def line(at: float | None, status: str = "s", event_type: str = "x", **fields: Any) -> bytes:
    """Return the log line of an event, without any time when `at` is None."""
    record = {
        "metric_type": "WEBHOOK_METRIC",
        "webhook_provider": "stripe",
        "event_type": event_type,
        "status": status,
        **({} if at is None else {"timestamp": at}),
        **fields,
    }
    return json.dumps(record).encode() + b"\n"


def log(lines: Sequence[bytes], *, name: str = "a.log", at_once: int = 100) -> ReplayedLog:
    """Return a log that is read in chunks of `at_once` lines."""

    def chunks() -> Iterator[Chunk]:
        position = 0
        for first in range(0, len(lines), at_once):
            data = b"".join(lines[first : first + at_once])
            yield Chunk(1, name, LogFormat.AUTO, data, position)
            position += len(data)

    return ReplayedLog(name, chunks)


def sample(name: str) -> ReplayedLog:
    return log((SAMPLES / name).read_bytes().splitlines(keepends=True), name=name)


def replayed(config_: Config, *logs: ReplayedLog, **more: Any) -> list[Message]:
    return list(Replay(config_, clock=CLOCK, **more).messages(logs))


def told(messages: Sequence[Message]) -> list[ToldAlert]:
    return [one for message in messages for one in message.told]
