"""The model: a person at each destination, who believes what was last said, and what is wrong."""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from world.product import READERS, Ending, Said, is_paused, read

# From the end of an alert, as the daemon saw it, until no message may call it firing any more.
STALE_SECONDS = 60.0

Alert = tuple[str, str]


class Fault(NamedTuple):
    """A broken invariant, and a sentence that says how."""

    kind: str
    sentence: str


class Heard(NamedTuple):
    at: float
    said: Said
    clear: bool  # the sender knows that it arrived


@dataclass
class People:
    """Everybody who reads, what they heard, and the faults seen on the way."""

    heard: dict[str, dict[Alert, list[Heard]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    ended: dict[tuple[Alert, int], float] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    recent: list[tuple[float, str, str]] = field(default_factory=list)  # at, reader, message
    lost: set[tuple[str, Alert]] = field(default_factory=set)  # the next word need not come
    taken: dict[tuple[Alert, int, str], float] = field(default_factory=dict)  # acknowledged, when
    silenced: list[tuple[str, float, float]] = field(default_factory=list)  # organisation, from, to
    paused_since: float = math.inf  # from when on nobody is told in the pauses of the day
    rerouted: bool = False  # then who knows that it fires may be told of its end only

    def end(self, ending: Ending, at: float) -> None:
        self.ended.setdefault((ending.alert, ending.episode), at)

    def hear(self, reader: str, body: str, at: float, *, clear: bool, clock: float) -> None:
        """Take a message in at the wall `clock`; what is wrong with it is seen at once."""
        calm = at - self.paused_since > STALE_SECONDS
        if calm and is_paused(clock) and is_paused(clock - STALE_SECONDS):
            self._wrong("paused", f"{reader} hears at {at:.0f} of {read(body)[0].alert}")
        for said in read(body):
            for org, begin, end in self.silenced:
                if said.alert[1] == org and begin + STALE_SECONDS < clock < end - STALE_SECONDS:
                    self._wrong("silenced", f"{reader} hears at {at:.0f} of {said.alert}")
            self.recent.append((at, reader, said.message))
            story = self.heard[reader][said.alert]
            self._judge(reader, story, said, at)
            story.append(Heard(at, said, clear))
            self.lost.discard((reader, said.alert))

    def forgotten(self, unknown: set[str]) -> None:
        """Note that the sender does not know of these messages whether they arrived."""
        for stories in self.heard.values():
            for story in stories.values():
                story[:] = [
                    h._replace(clear=h.clear and h.said.message not in unknown) for h in story
                ]

    def taken_away(self, receiver: str) -> None:
        """Expect nothing of what these readers know: there may be no way to tell them its end."""
        for reader in READERS[receiver]:
            self.lost |= {(reader, alert) for alert in self.heard[reader]}
            for story in self.heard[reader].values():
                story[:] = [heard._replace(clear=False) for heard in story]

    def _judge(self, reader: str, story: list[Heard], said: Said, at: float) -> None:
        last = story[-1].said if story else None
        who = f"{reader} hears at {at:.0f} that {said.alert} is {said.status}"
        if said.status == "firing":
            ended = self.ended.get((said.alert, said.episode))
            if ended is not None and at - ended > STALE_SECONDS:
                self._wrong("stale firing", f"{who}, which it was until {ended:.0f}")
        # One whose end the sender does not know to have arrived still fires to him.
        known = last is not None and (last.status in _OPEN or not story[-1].clear)
        known = known or (last is not None and _same(last, said))
        if said.status in ("resolved", "unseen") and not known:
            self._wrong("bare resolved", f"{who}, and never heard that it fired")
        taken = self.taken.get((said.alert, said.episode, said.severity))
        if said.reason == _NAMED[0] and taken is not None and at - taken > STALE_SECONDS:
            self._wrong("repeat", f"{who} once more, which somebody took at {taken:.0f}")
        again = last is not None and _same(last, said) and said.reason not in _NAMED
        if again and all(h.clear for h in story if _same(h.said, said)):
            self._wrong("repeat", f"{who} once more ({said.reason})")

    def judge(self, firing: Mapping[Alert, tuple[int, str, str]], known: set[str]) -> None:
        """Compare what everybody believes with what is so, at rest.

        `known`: the receivers for whom the world is calm.
        """
        for receiver in sorted(known):
            for reader in READERS[receiver]:
                for alert in sorted({*self.heard[reader], *firing}):
                    self._compare(receiver, reader, alert, firing.get(alert))

    def judge_instead(self, firing: Mapping[Alert, tuple[int, str, str]]) -> None:
        """See that the team knows what fires for those who cannot be told, at rest."""
        for alert, (episode, _, receiver) in sorted(firing.items()):
            if receiver == "pager" and not self._knows("#pager", alert, episode):
                for reader in READERS["team"]:
                    if not self._knows(reader, alert, episode):
                        self._wrong("not passed on", f"{reader} does not know that {alert} fires")

    def _knows(self, reader: str, alert: Alert, episode: int) -> bool:
        story = self.heard[reader][alert]
        last = story[-1].said if story else None
        return last is not None and (last.status, last.episode) == ("firing", episode)

    def _compare(
        self, receiver: str, reader: str, alert: Alert, fires: tuple[int, str, str] | None
    ) -> None:
        story = self.heard[reader][alert]
        believes = story[-1].said.status if story else None
        if fires is not None and fires[2] == receiver:
            if not self._knows(reader, alert, fires[0]):
                self._wrong("not told", f"{reader} believes that {alert} is {believes}; it fires")
        elif (reader, alert) in self.lost:
            return
        elif believes == "firing" and not (self.rerouted and fires is not None):
            self._wrong("false word", f"{reader} believes that {alert} fires here")
        elif believes == "escalated" and fires is None:
            self._wrong("false word", f"{reader} believes that {alert} fires elsewhere")

    def _wrong(self, kind: str, sentence: str) -> None:
        self.faults.append(Fault(kind, sentence))


_OPEN = ("firing", "escalated")
_NAMED = ("repeat interval elapsed", "grew")


def _same(one: Said, other: Said) -> bool:
    return (one.alert, one.status, one.episode, one.severity, one.acked) == (
        other.alert, other.status, other.episode, other.severity, other.acked
    )  # fmt: skip
