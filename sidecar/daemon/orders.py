"""What people order of alerts, which is done where it is judged: to end, take or mute them."""

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from sidecar.clock import Clock
from sidecar.config.settings import Config
from sidecar.core import Core
from sidecar.matchers import Matcher, parse_matcher
from sidecar.notify.mutes import silence_row
from sidecar.rows import SilenceRow
from sidecar.rules.alert import Alert
from sidecar.rules.rule import Rule
from sidecar.secret import printable
from sidecar.web.fault import Refusal


class Order(NamedTuple):
    """What is to be changed, and by what it is said: JSON."""

    name: str
    said: dict[str, Any]


class Answer(msgspec.Struct):
    """What came of an order: its result, or the HTTP status and sentence of a refusal."""

    result: Any = None
    status: int = 0
    sentence: str = ""

    def value(self) -> Any:
        """Return the result; raises Refusal."""
        if self.status:
            raise Refusal(self.status, self.sentence)
        return self.result


class Orders:
    """Carries orders out on a core, between two steps; `config` returns that in force."""

    def __init__(self, config: Callable[[], Config], clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._made: dict[str, Callable[..., Any]] = {
            "resolve": self._resolve,
            "ack": self._ack,
            "silence": self._silence,
            "unsilence": self._unsilence,
        }

    def make(self, order: Order, core: Core) -> Any:
        """Return what the order comes to. Raises Refusal, and then nothing is changed."""
        return self._made[order.name](core, **order.said)

    def answer(self, written: str, core: Core) -> str:
        """Carry out an order that another host wrote down; return the answer, written likewise."""
        try:
            answer = Answer(self.make(msgspec.json.decode(written, type=Order), core))
        except Refusal as refusal:
            answer = Answer(status=refusal.status, sentence=str(refusal))
        except (msgspec.MsgspecError, KeyError, TypeError) as wrong:
            sentence = f"this version does not know what another host asks for: {wrong}"
            answer = Answer(status=400, sentence=sentence)
        return msgspec.json.encode(answer).decode()

    def rule(self, name: str) -> Rule:
        """Return a rule by its name; raises Refusal."""
        rules = {rule.name: rule for rule in self._config().rules}
        if name not in rules:
            near = difflib.get_close_matches(name, sorted(rules), n=1)
            hint = f"did you mean {near[0]}?" if near else "`sidecar rules` lists them"
            raise Refusal(404, f"no rule is called {name}; {hint}")
        return rules[name]

    def called(self, alert: Alert) -> dict[str, Any]:
        """Return by what an alert is named."""
        by = next((rule.by for rule in self._config().rules if rule.name == alert.name), ())
        return {"alertname": alert.name, "key": dict(zip(by, alert.key, strict=False))}

    def _resolve(self, core: Core, alertname: str, key: Mapping[str, str], person: str) -> Any:
        rule = self.rule(alertname)
        values = tuple(key[name] for name in _complete(rule, key))
        if not core.end(rule.name, values, self._clock.now(), person):
            about = " ".join(f"{name}={key[name]}" for name in rule.by)
            raise Refusal(404, f"no alert {rule.name} is open{' for ' if about else ''}{about}")
        return {"alertname": rule.name, "key": dict(zip(rule.by, values, strict=True))}

    def _ack(self, core: Core, matchers: Sequence[str], person: str, comment: str) -> Any:
        wanted, now = parsed(matchers), self._clock.now()
        alerts = core.notifier.ack(wanted, person, core.redactor.text(comment), now)
        if not alerts:
            raise Refusal(404, f"no alert fires for {', '.join(map(str, wanted))}")
        return list(map(self.called, alerts))

    def _silence(self, core: Core, **asked: Any) -> Any:
        now, matchers = self._clock.now(), parsed(asked["matchers"])
        starts_at = now if asked["starts_at"] is None else asked["starts_at"]
        if not matchers and not asked["everything"]:
            raise Refusal(400, "a silence without matchers mutes everything: say `everything`")
        if not max(now, starts_at) < asked["ends_at"] < math.inf:
            raise Refusal(400, "a silence ends after it starts, and after now")
        row = silence_row(
            matchers, starts_at, asked["ends_at"], by=asked["by"],
            comment=core.redactor.text(asked["comment"]), now=now,
        )  # fmt: skip
        core.notifier.silence(row)
        return shown_silence(row)

    def _unsilence(self, core: Core, id_: str) -> Any:
        if not core.notifier.unsilence(id_, self._clock.now()):
            raise Refusal(404, f"no silence {printable(id_)} is there that is not over")
        return None


def parsed(matchers: Sequence[str]) -> list[Matcher]:
    """Return matchers as written by a person; raises Refusal for all that are none."""
    found, wrong = [], []
    for text in matchers:
        try:
            found.append(parse_matcher(text))
        except ValueError as fault:
            wrong.append(str(fault))
    if wrong:
        raise Refusal(400, "; ".join(wrong))
    return found


def shown_silence(row: SilenceRow) -> dict[str, Any]:
    return {**msgspec.to_builtins(row), "matchers": msgspec.json.decode(row.matchers)}


def _complete(rule: Rule, key: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the rule's key if `key` gives exactly these; raises Refusal."""
    if key.keys() == set(rule.by):
        return rule.by
    needs = " ".join(f"{name}=VALUE" for name in rule.by) or "no KEY=VALUE"
    raise Refusal(400, f"alerts of {rule.name} are named by {needs}")
