"""The kinds of receivers, each in a folder with its keys, its message and its sender side by side.

`KINDS` is the one list of them: the sections of a receiver and the keys of `global`, their JSON
Schema, destinations, rendering, replay, rule tests, metrics and delivery all follow from it. A new
kind is a folder with a `Kind`, and one entry here.
"""

from collections.abc import Iterable

from sidecar.receivers.alertmanager import ALERTMANAGER
from sidecar.receivers.base import AnyKind
from sidecar.receivers.email import EMAIL
from sidecar.receivers.pagerduty import PAGERDUTY
from sidecar.receivers.slack import SLACK
from sidecar.receivers.webhook import WEBHOOK

KINDS: tuple[AnyKind, ...] = (SLACK, EMAIL, PAGERDUTY, WEBHOOK, ALERTMANAGER)


def shipped_templates(kinds: Iterable[AnyKind] = KINDS) -> dict[str, str]:
    """Return the templates of all kinds: base name -> source."""
    return {name: text for kind in kinds for name, text in kind.templates().items()}
