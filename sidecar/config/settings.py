"""`sidecar.yaml`: its keys, what must hold between them, and the Config that comes of it."""

import glob
from collections.abc import Mapping
from dataclasses import dataclass, field, make_dataclass
from fnmatch import fnmatchcase
from os.path import realpath
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from sidecar.config.http import Http
from sidecar.measure.series import Metric
from sidecar.notify.model import EmailConfig, Receiver, Route, SlackConfig
from sidecar.parse.event import LogFormat
from sidecar.parse.patterns import Pattern
from sidecar.redact import RedactPolicy
from sidecar.render.check import check_template_file, shipped_templates
from sidecar.rules.rule import OWN_PROVIDER, Rule
from sidecar.secret import Secret
from sidecar.syntax.faults import Names, Wrong, did_you_mean
from sidecar.syntax.files import Seen, absolute, absolute_glob
from sidecar.syntax.table import Placed, Reading, Schema, Table, declared, key, table, text_of
from sidecar.syntax.tree import ListNode, MapNode, Node, Scalar
from sidecar.syntax.values import MaybeRe2, Positive, choice, string


def _glob(node: Node, _: Reading) -> str:
    scalar = text_of(node)
    if not scalar.text or "\0" in scalar.text:
        raise Wrong("`path` is empty")
    return "-" if scalar.text == "-" else absolute_glob(scalar.place.file, scalar.text)


Glob = Annotated[str, Placed(_glob, string(minLength=1))]
Format = Annotated[LogFormat, choice(LogFormat, LogFormat)]
StartAt = Annotated[bool, choice(("end", "beginning"), "beginning".__eq__)]


@table
class Source(Table):
    """One entry of `sources`. `path` is an absolute glob, or "-" for stdin.

    `from_beginning` concerns only files that exist at the very first start.
    """

    path: Glob = key("A glob; rotated siblings are found by themselves; `-` is stdin.")
    format: Format = key(
        "How lines are wrapped: `plain`, `docker` or `cri`; `auto` recognises each.",
        default=LogFormat.AUTO,
    )
    from_beginning: StartAt = key(
        "`end` or `beginning`: where to start in files that exist at the very first start.",
        "start_at",
        default=False,
    )
    prefix: MaybeRe2 = key(
        "RE2, matching all that stands before an event in its line; else what loggers put there.",
        default=None,
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
    seen: Seen = field(default_factory=Seen, compare=False, repr=False)  # of which files it is

    def prefix_of(self, path: str) -> str | None:
        """Return what the source that names `path`, or a file rotated from it, pins as prefix."""
        absolute_path = realpath(path)
        for source in self.sources:
            if fnmatchcase(absolute_path, source.path + "*"):
                return source.prefix
        return None

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


def _path(node: Node, _: Reading) -> str:
    scalar = text_of(node)
    return absolute(scalar.place.file, scalar.text)


def _files(node: Node, reading: Reading) -> tuple[str, ...]:
    scalar = text_of(node)
    file, pattern = scalar.place.file, scalar.text
    paths = [] if "\0" in pattern else reading.files.matching(file, pattern)
    if not paths:
        what = "matches no file" if glob.has_magic(pattern) else "does not exist"
        raise Wrong(f"{scalar.written} {what}", "paths are relative to this file")
    return tuple(paths)


AbsolutePath = Annotated[str, Placed(_path, string())]
Globs = tuple[Annotated[tuple[str, ...], Placed(_files, string())], ...]


@table
class State(Table):
    path: AbsolutePath = key(
        "The SQLite file; put it on a local disk that outlives the container.",
        default="/var/lib/sidecar/state.db",
    )


_STAND_INS = {"smtp_from": "stand-in@example.invalid", "smtp_smarthost": ("stand-in.invalid", 25)}


class _Global(Table):
    """The keys that receivers fall back on; each is declared where it is used."""

    __slots__ = ()
    one_of: ClassVar[tuple[str, ...]] = ("slack_api_url", "slack_app_token")
    schema: ClassVar[Schema] = {
        "allOf": [{"not": {"required": ["slack_api_url", "slack_app_token"]}}]
    }

    def check(self, reading: Reading) -> "_Global":
        for name in reading.node(self).values:
            key = name.removesuffix("_file")
            value = getattr(self, key, None)
            value = _STAND_INS.get(key) if value is None else value
            if value is not None:
                reading.globals[key] = value
        if {"slack_api_url", "slack_app_token"} <= reading.globals.keys():
            message = "both an incoming webhook and a bot token are set"
            hint = "keep `slack_api_url` or `slack_app_token`"
            reading.error_at_key(self, "slack_app_token", message, hint)
            del reading.globals["slack_app_token"]
        return self


if TYPE_CHECKING:
    Global = _Global
else:
    Global = make_dataclass(
        "Global",
        [
            (one.key.global_, one.hint, key(one.key.doc, default=None))
            for kind in (SlackConfig, EmailConfig)
            for one in declared(kind).values()
            if one.key.global_
        ],
        bases=(_Global,),
        frozen=True,
        kw_only=True,
    )


@table
class Settings(Table):
    """Every key of `sidecar.yaml`, in the order in which they are read."""

    hints: ClassVar[dict[str, str]] = {
        "templates": "write `template_files`",
        "rules": "rules stand in files of their own, named under `rule_files`",
    }

    sources: tuple[Source, ...] = key("The logs to read.", schema={"minItems": 1})
    rule_files: Globs = key("Globs of rule files, relative to this file.")
    pattern_files: Globs = key("Globs of pattern files.", default=())
    template_files: Globs = key(
        "Globs of Jinja2 files; one named like a shipped template replaces it.", default=()
    )
    state: State = key("What outlives a restart.", default=State())
    http: Http = key("What is served.", default=Http())
    stale_after: Positive = key(
        "An event older than this when read counts as usual; what it would have sent is told in "
        "one digest, marked late.",
        default=3600.0,
    )
    redact: RedactPolicy = key(
        "What to hide beside tokens, passwords and addresses.", default=RedactPolicy()
    )
    global_: Global = key("Defaults of receivers.", "global", default=Global())
    receivers: tuple[Receiver, ...] = key("Who can be told.")
    route: Route = key(
        "Alertmanager's tree: which alert goes to whom.",
        schema={"required": ["receiver"], "properties": {"matchers": False, "continue": False}},
    )

    @classmethod
    def prepare(cls, values: dict[str, Node], reading: Reading) -> None:
        root = values.get("route")
        if not isinstance(root, MapNode):
            return
        if "receiver" not in root.values:
            reading.faults.error(root.place, "`receiver` is missing")
        for name in ("matchers", "continue"):
            if name in root.values:
                message = f"the root route takes every alert and cannot have `{name}`"
                hint = "put it into a route under `routes`"
                reading.faults.error(root.places[name], message, hint)

    def check(self, reading: Reading) -> "Settings":
        paths: set[str] = set()
        for source in self.sources:
            if source.path and source.path in paths:
                message = "two sources have this path"
                reading.error(source, "path", message, "each line would count twice")
            paths.add(source.path)
        node = reading.node(self).values.get("sources")
        if isinstance(node, ListNode) and not node.items:
            hint = "name at least one log file: - path: /var/log/webhook/*.log"
            reading.error(self, "sources", "`sources` is empty", hint)
        self._check_receivers(reading)
        return self

    def _check_receivers(self, reading: Reading) -> None:
        names = Names("receiver", reading.faults)
        for receiver in self.receivers:
            names.claim(receiver.name, reading.place(receiver, "name"))
        channels: dict[str, str] = {}
        for config in (one for receiver in self.receivers for one in receiver.slack_configs):
            if config.api_url is None:
                continue
            channel = channels.setdefault(config.api_url.reveal(), config.channel)
            if channel != config.channel:
                reading.faults.warning(
                    reading.place(config),
                    f"`{config.channel}` and `{channel}` share one incoming webhook, "
                    "which posts to its own channel only",
                    "use one URL per channel, or a bot token",
                )
        known = set(names.places)
        used = [*self._check_routed(self.route, known, reading)]
        if used and None not in used:
            for name in known - set(used):
                message = f"no route leads to receiver `{name}`"
                reading.faults.warning(names.places[name], message)

    def _check_routed(self, route: Route, known: set[str], reading: Reading) -> Any:
        node = reading.node(route).values.get("receiver")
        if node is not None:
            yield route.receiver or None
        if isinstance(node, Scalar) and route.receiver and route.receiver not in known:
            yield None
            otherwise = "known receivers: " + (", ".join(sorted(known)) or "none")
            hint = did_you_mean(node.written, known, otherwise)
            reading.faults.error(node.place, f"unknown receiver `{node.written}`", hint)
        for child in route.routes:
            yield from self._check_routed(child, known, reading)


def each_once(files: tuple[tuple[str, ...], ...]) -> list[str]:
    found: dict[str, str] = {}
    for path in (path for paths in files for path in paths):
        found.setdefault(realpath(path), path)
    return list(found.values())


def read_templates(settings: Settings, reading: Reading) -> dict[str, str]:
    """Return the shipped templates with the user's laid over them, by base name."""
    templates = shipped_templates()
    own: dict[str, str] = {}
    for path in each_once(settings.template_files):
        name = Path(path).name
        if name in own:
            message = f"two template files are called {name}"
            reading.error(settings, "template_files", message, f"{own[name]} and {path}")
            continue
        own[name] = path
        source = check_template_file(path, reading)
        if source is not None:
            templates[name] = source
    return templates
