"""What happens in a world: actions at instants, all drawn from one seed."""

import random
from collections.abc import Callable
from typing import Any, NamedTuple

from world.servers import FATES, SMTP_FATES

DAY = 86_400.0
YEAR = 365 * DAY
ORGS = ("a", "b", "c")
# What somebody calls a copy: a log of the same glob, another generation, or nothing that is read.
COPIES = ("incident.log", "old-app.log", "app.log.bak", "app.log.7")


class Action(NamedTuple):
    """At `at` seconds from the beginning, `what` happens with `value`."""

    at: float
    what: str
    value: Any = None

    def __str__(self) -> str:
        return f"Action({self.at!r}, {self.what!r}, {self.value!r})"


class Script(NamedTuple):
    seed: int
    actions: tuple[Action, ...]


def written(seed: int) -> Script:
    """Return the script of a seed."""
    chance = random.Random(seed)
    length = chance.choice((900.0, 3600.0, 3600.0, 4 * 3600.0))
    kinds = [kind for kind in _TROUBLES if chance.random() < 0.35]
    lines = chance.randrange(2, 25)
    actions = [_logged(chance, chance.random() * length) for _ in range(lines)]
    for kind in kinds:
        for _ in range(chance.randrange(1, 4)):
            actions += _TROUBLES[kind](chance, chance.random() * length)
    actions += _files(random.Random(f"{seed} files"), length)
    return Script(seed, tuple(sorted(actions, key=lambda a: a.at)))


def _files(chance: random.Random, length: float) -> list[Action]:
    """What people and programs do to the log files beside the host; drawn by itself."""
    if chance.random() < 0.5:
        return []
    made = []
    for _ in range(chance.randrange(1, 7)):
        at, which = chance.random() * length, chance.randrange(6)
        match chance.randrange(4):
            case 0:
                lie = chance.choice((60.0, 3600.0, DAY, 10 * DAY, YEAR)) * chance.choice((1, -1))
                made.append(Action(at, "touch", (which, lie)))
            case 1:
                made.append(Action(at, "copy", (which, chance.choice(COPIES))))
            case 2:
                made.append(Action(at, "compress", (which, chance.choice((".gz", ".xz", ".bz2")))))
            case _:
                made.append(Action(at, chance.choice(("rotate", "copytruncate"))))
    return made


def _logged(chance: random.Random, at: float) -> Action:
    event, statuses = chance.choice(
        (("state", ("bad", "worse", "good")), ("part", ("broken", "broken", "fixed")))
    )
    return Action(at, "log", (event, chance.choice(statuses), chance.choice(ORGS)))


def _spell(what: str, fates: tuple[str, ...]) -> Callable[[random.Random, float], list[Action]]:
    def make(chance: random.Random, at: float) -> list[Action]:
        some = tuple(chance.choice(fates) for _ in range(chance.randrange(1, 4)))
        lasting = chance.choice((5.0, 60.0, 600.0, 1800.0, 3 * 3600.0))
        return [Action(at, what, some), Action(at + lasting, what, ("ok",))]

    return make


def _flaky(chance: random.Random, at: float) -> list[Action]:
    bad = chance.choice(("500", "reset before", "502"))
    return [Action(at, "slack", ("ok", "ok", bad)), Action(at + 3600, "slack", ("ok",))]


def _killed(chance: random.Random, at: float) -> list[Action]:
    down = chance.choice((0.1, 5.0, 600.0, 2 * 3600.0, 13 * 3600.0))
    if chance.random() < 0.5:
        return [Action(at, "kill", down)]
    return [Action(at, "kill at statement", (chance.randrange(1, 60), down))]


def _stopped(chance: random.Random, at: float) -> list[Action]:
    return [Action(at, "stop", chance.choice((0.1, 60.0, 7200.0, 13 * 3600.0)))]


def _disk(chance: random.Random, at: float) -> list[Action]:
    return [Action(at, chance.choice(("disk fails", "disk loses answers")), chance.randrange(1, 9))]


def _clock(chance: random.Random, at: float) -> list[Action]:
    """The wall clock jumps, for a while or for good; something has just happened, and goes on."""
    jump = chance.choice((60.0, 7200.0, 400 * DAY, YEAR)) * chance.choice((1, -1))
    made = [Action(at, "clock", jump)]
    if chance.random() < 0.6:
        made.append(Action(at + chance.choice((6.0, 600.0, 7200.0)), "clock", -jump))
    around = (at - chance.choice((1.0, 60.0)), at + chance.choice((1.0, 60.0)))
    return [*made, *(_logged(chance, when) for when in around)]


def _edited(chance: random.Random, at: float) -> list[Action]:
    """Slack's side changes, and a while later the operator follows; or tunes the waiting."""
    later = at + chance.choice((3.0, 600.0, 7200.0))
    match chance.randrange(3):
        case 0:
            new = f"#pager-{chance.randrange(2, 5)}"
            return [Action(at, "renamed", new), Action(later, "edit", {"pager": new})]
        case 1:
            new = f"token-{chance.randrange(2, 5)}"
            return [Action(at, "new token", new), Action(later, "edit", {"token": new})]
        case _:
            return [Action(at, "edit", {"wait": 10.0, "interval": 60.0, "cooldown": 60.0})]


def _rerouted(chance: random.Random, at: float) -> list[Action]:
    """The operator sends alerts elsewhere, or calls a receiver otherwise; half the time not long.

    A receiver can be taken away only once nothing is sent to it any more.
    """
    new, old = chance.choice(
        (
            ({"critical": "team"}, {"critical": "pager"}),
            ({"critical": "pager"}, {"critical": "team"}),
            ({"team": "crew"}, {"team": "team"}),
            ({"group_by": "alertname, org"}, {"group_by": "alertname"}),
            ({"critical": "team", "paged": False}, {"paged": True, "critical": "pager"}),
        )
    )
    made = [Action(at, "edit", new)]
    if chance.random() < 0.5:
        made.append(Action(at + chance.choice((3.0, 600.0, 7200.0)), "edit", old))
    return made


def _burst(chance: random.Random, at: float) -> list[Action]:
    """Several alerts of one instant, and something that comes while they are told.

    A message is on its way for a tenth of a second, at once or after the groups' wait.
    """
    near = chance.choice(("clock", "edit", "route", "route", "kill", "stop", "disk"))
    lines = [_logged(chance, at) for _ in range(chance.randrange(2, 7))]
    later = chance.choice((0.0, 0.0, 30.0)) + chance.choice((0.1, 2.0)) * chance.random()
    return [*lines, *_TROUBLES[near](chance, at + later)]


def _away(chance: random.Random, at: float) -> list[Action]:
    """The process is gone while it tells of an alert, which ends; then something else begins."""
    org, down = chance.choice(ORGS), chance.choice((600.0, 7200.0))
    back = at + 31 + down
    event, bad, good = chance.choice((("state", "bad", "good"), ("part", "broken", "fixed")))
    fates = ("500", "silent after", "reset after", "403 page", "refused")
    later = [at + 31 + down * 0.6, *(back + chance.choice((1, 20, 40, 200)) for _ in range(2))]
    return [
        Action(at, "slack", tuple(chance.choice(fates) for _ in range(2))),
        Action(at, "log", (event, bad, org)),
        Action(at + chance.choice((0.2, 31.0)), "kill", down),
        Action(at + 31 + down * 0.5, "log", (event, good, org)),
        *(Action(when, "log", (event, bad, chance.choice(ORGS))) for when in later),
        Action(back + chance.choice((5, 100, 600, 1200)), "slack", ("ok",)),
    ]


def _resolved(chance: random.Random, at: float) -> list[Action]:
    return [Action(at, "resolve", (chance.choice(("Failing", "Broken")), chance.choice(ORGS)))]


def _acked(chance: random.Random, at: float) -> list[Action]:
    """Somebody takes what fires for an organisation."""
    return [Action(at, "ack", chance.choice(ORGS))]


def _silenced(chance: random.Random, at: float) -> list[Action]:
    """Somebody silences an organisation, and maybe ends that; or the operator inhibits."""
    if chance.random() < 0.3:
        later = at + chance.choice((3.0, 600.0, 7200.0))
        return [Action(at, "edit", {"inhibit": True}), Action(later, "edit", {"inhibit": False})]
    lasting = chance.choice((5.0, 600.0, 7200.0, 5 * 3600.0))
    made = [Action(at, "silence", (chance.choice(ORGS), lasting))]
    if chance.random() < 0.4:
        made.append(Action(at + chance.choice((1.0, 60.0, 3600.0)), "unsilence"))
    return made


def _paused(chance: random.Random, at: float) -> list[Action]:
    """The operator lets nobody be told in the pauses of the day, and maybe thinks better of it."""
    made = [Action(at, "edit", {"pauses": chance.choice(("mute", "active"))})]
    if chance.random() < 0.3:
        later = at + chance.choice((3.0, 600.0, 7200.0))
        made.append(Action(later, "edit", {"pauses": chance.choice(("", "mute", "active"))}))
    return made


def _passed_on(chance: random.Random, at: float) -> list[Action]:
    """Slack's side changes and nobody sees to it: others are told instead, for a while or on."""
    number = chance.randrange(2, 5)
    what, value = chance.choice((("new token", f"token-{number}"), ("renamed", f"#pager-{number}")))
    lost = at + chance.choice((0.0, 60.0, 1800.0))
    made = [Action(at, "edit", {"fallback": True}), Action(lost, what, value)]
    if chance.random() < 0.4:
        later = at + chance.choice((600.0, 7200.0))
        made.append(Action(later, "edit", {"fallback": False}))
    return made


def _given_back(chance: random.Random, at: float) -> list[Action]:
    """What escalated to others is given back to those it left, by a reload; or the other way."""
    org, first = chance.choice(ORGS), chance.choice(("pager", "pager", "team"))
    then = at + 2 * 3600.0 + chance.choice((1.0, 60.0, 600.0))
    other = {"pager": "team", "team": "pager"}[first]
    return [
        Action(at, "edit", {"critical": first}),
        Action(at + 1.0, "log", ("state", "bad", org)),
        Action(then, "edit", {"critical": other}),
        Action(then + chance.choice((1.0, 400.0, 1200.0)), "log", ("state", "good", org)),
    ]


def _rotated(chance: random.Random, at: float) -> list[Action]:
    del chance
    return [Action(at, "rotate")]


_TROUBLES: dict[str, Callable[[random.Random, float], list[Action]]] = {
    "slack": _spell("slack", tuple(FATES)),
    "flaky": _flaky,
    "mail": _spell("mail", SMTP_FATES),
    "kill": _killed,
    "stop": _stopped,
    "disk": _disk,
    "clock": _clock,
    "edit": _edited,
    "route": _rerouted,
    "burst": _burst,
    "resolve": _resolved,
    "rotate": _rotated,
    "ack": _acked,
    "silence": _silenced,
    "away": _away,
    "pauses": _paused,
    "fallback": _passed_on,
    "given back": _given_back,
}
