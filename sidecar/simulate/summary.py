"""What a whole history came to: alerts, messages, silences, and the busiest minute."""

from collections import Counter, deque

from sidecar.rules.alert import TransitionKind
from sidecar.simulate.simulation import Moment
from sidecar.simulate.told import Message

BURST_SECONDS = 60.0


class Summary:
    """Adds up moments and their messages.

    `alerts`: firings by severity, an escalated one again at its new severity. `messages`: by
    receiver, `copies` by (receiver, destination). `suppressed`: alerts not told, by reason.
    `burst`: the most messages to all receivers within one minute, and `burst_at` when it began.
    """

    def __init__(self) -> None:
        self.alerts: Counter[str] = Counter()
        self.messages: Counter[str] = Counter()
        self.copies: Counter[tuple[str, str]] = Counter()
        self.suppressed: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.burst = 0
        self.burst_at = 0.0
        self._recent: deque[float] = deque()

    def add(self, moment: Moment, messages: list[Message]) -> None:
        for transition in moment.step.transitions:
            if transition.kind in (TransitionKind.FIRED, TransitionKind.ESCALATED):
                self.alerts[transition.alert.severity or "none"] += 1
        for decision in moment.step.decisions:
            if not decision.told:
                self.suppressed[decision.reason.value] += decision.alerts
        for message in messages:
            self._add(message)

    def _add(self, message: Message) -> None:
        self.messages[message.receiver] += 1
        for copy in message.copies:
            self.copies[message.receiver, copy.destination] += 1
            if copy.fault is not None:
                self.faults[copy.fault] += 1
        recent = self._recent
        recent.append(message.at)
        while recent[0] <= message.at - BURST_SECONDS:
            recent.popleft()
        if len(recent) > self.burst:
            self.burst, self.burst_at = len(recent), recent[0]
