"""The whole configuration as frozen values; what `load` makes and everything else reads."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from sidecar.config.files import absolute_glob
from sidecar.config.nodes import Node
from sidecar.measure.metric import Metric
from sidecar.notify.model import Receiver, Route
from sidecar.notify.redact import RedactPolicy
from sidecar.parse.event import LogFormat
from sidecar.parse.pattern import Pattern
from sidecar.rules.rule import OWN_PROVIDER, Rule
from sidecar.secret import Secret
from sidecar.syntax.table import Table, Value, key, table, text_of
from sidecar.syntax.types import choice, string
from sidecar.syntax.wrong import Wrong


def _glob(node: Node) -> str:
    scalar = text_of(node)
    if not scalar.text or "\0" in scalar.text:
        raise Wrong("`path` is empty")
    return "-" if scalar.text == "-" else absolute_glob(scalar.place.file, scalar.text)


Glob = Annotated[str, Value(_glob, "a path", string(minLength=1), whole=True)]
Format = Annotated[LogFormat, choice(LogFormat, LogFormat)]
StartAt = Annotated[bool, choice(("end", "beginning"), "beginning".__eq__)]


@table
class Source(Table):
    """One entry of `sources`. `path` is an absolute glob, or "-" for stdin.

    `from_beginning` concerns only files that exist at the very first start.
    """

    path: Glob = key('A glob; rotated siblings are found by themselves; "-" is stdin.')
    format: Format = key("How lines are wrapped; auto recognises each.", default=LogFormat.AUTO)
    from_beginning: StartAt = key(
        "Where to start in files that exist at the very first start.", "start_at", default=False
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything `sidecar.yaml` and the files it names say. `templates` maps names to sources."""

    path: str
    sources: tuple[Source, ...]
    patterns: tuple[Pattern, ...]
    rules: tuple[Rule, ...]
    metrics: tuple[Metric, ...]
    templates: Mapping[str, str] = field(default_factory=dict)
    state_path: str
    listen: tuple[str, int] = ("0.0.0.0", 9787)  # noqa: S104 - beyond loopback only /metrics and health are open
    http_token: Secret | None = None
    stale_after: float = 3600.0
    redact: RedactPolicy = field(default_factory=RedactPolicy)
    route: Route
    receivers: Mapping[str, Receiver]

    def providers(self) -> list[str]:
        """Return the webhook providers that pattern and rule files name, in their order."""
        fixed = [p.fields.get("webhook_provider", "") for p in self.patterns]
        matched = [
            value
            for matchers in (*(r.match for r in self.rules), *(m.match for m in self.metrics))
            for matcher in matchers
            if matcher.name == "webhook_provider"
            for value in matcher.named_values()
        ]
        known = dict.fromkeys(name for name in (*fixed, *matched) if name)
        return [name for name in known if name != OWN_PROVIDER]
