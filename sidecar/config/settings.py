"""`sidecar.yaml`: its keys, what must hold between them, and the Config that comes of it."""

import glob
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields as fields_of, make_dataclass
from fnmatch import fnmatchcase
from functools import cache, partial
from os.path import realpath
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, cast

from sidecar.config.http import Http, State, socket_beside
from sidecar.config.routelint import check_receivers
from sidecar.config.sources import Source, StripeApi, Webhook
from sidecar.directory.lookup import Directory
from sidecar.measure.series import RETENTION, Metric
from sidecar.notify.model import Receiver, Route
from sidecar.notify.mutes import InhibitRule, TimeInterval
from sidecar.parse.event import OWN_PROVIDER, SOURCE
from sidecar.parse.patterns import Pattern
from sidecar.receivers import KINDS, shipped_templates
from sidecar.receivers.base import AnyKind
from sidecar.receivers.proxy import HttpConfig
from sidecar.redact import RedactPolicy
from sidecar.render.check import Trial, check_message, check_template_file, templates_of
from sidecar.render.view import Origin
from sidecar.rules.rule import Rule
from sidecar.secret import Secret
from sidecar.syntax.faults import Names, Place, Wrong, did_you_mean
from sidecar.syntax.files import FileSnapshot
from sidecar.syntax.table import Declared, Nested, Placed, Reading, Table, declared, key, table
from sidecar.syntax.tree import ListNode, MapNode, Node, Scalar, given, is_blank, text_of
from sidecar.syntax.values import (
    LABEL,
    MaybeUrl,
    Named,
    Positive,
    SecretUrl,
    Text,
    check_label,
    string,
)

_OF_LOGS = ("/", "-")  # so begins what the sidecar calls a log: its path, or stdin
_RULES = "rules/*.rules.yaml"  # whose files are read where a configuration names none
_T = TypeVar("_T", bound=Table)


@table
class DrillConfig(Table):
    """An alert that is made to fire every so often, and told as a drill."""

    alert: Named = key("The rule whose alert is made to fire, and ended at once.")
    every: Positive = key("How often.", default=7 * 86_400.0)

    def check_rules(self, rules: Iterable[Rule], reading: Reading) -> None:
        """Report an alert that none of the rules has, if these are known."""
        known = {rule.name for rule in rules}
        if known and self.alert not in known:
            hint = did_you_mean(self.alert, known, "name one of `sidecar rules`")
            reading.error(self, "alert", f"no rule is called `{self.alert}`", hint)


@table
class HeartbeatConfig(Table):
    """A service that notices when it is not told that all is well, such as Healthchecks."""

    url: SecretUrl = key(
        "Where to POST while all is well; `/fail` behind it is told of trouble.", default=None
    )
    interval: Positive = key("How often.", default=60.0)

    def check(self, reading: Reading) -> "HeartbeatConfig":
        if self.url is None and not any(k.startswith("url") for k in reading.node(self).values):
            reading.error(self, "", "`url` is missing", "write `url` or `url_file`")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything `sidecar.yaml` and the files it names say. `templates` maps names to sources."""

    path: str
    sources: tuple[Source, ...]  # logs
    webhooks: tuple[Webhook, ...] = ()
    apis: tuple[StripeApi, ...] = ()
    patterns: tuple[Pattern, ...]
    rules: tuple[Rule, ...]
    metrics: tuple[Metric, ...]
    templates: Mapping[str, str] = field(default_factory=dict)
    state_path: str
    state_url: Secret | None = None  # the database that has the state in place of that file
    host: str = ""  # the name of this one there
    judges: bool = True
    http: Http = field(default_factory=Http)
    stale_after: float = 3600.0
    series_retention: float = RETENTION
    redact: RedactPolicy = field(default_factory=RedactPolicy)
    origin: Origin = field(default_factory=Origin)
    route: Route
    receivers: Mapping[str, Receiver]
    inhibit_rules: tuple[InhibitRule, ...] = ()
    time_intervals: Mapping[str, TimeInterval] = field(default_factory=dict)
    drill: DrillConfig | None = None
    heartbeat: HeartbeatConfig | None = None
    http_config: HttpConfig = field(default_factory=HttpConfig)
    proxy: str = ""  # what is in force, for the log
    directory: Directory | None = None
    kinds: tuple[AnyKind, ...] = KINDS
    snapshot: FileSnapshot = field(
        default_factory=FileSnapshot, compare=False, repr=False
    )  # of which files it is

    @property
    def admin_socket(self) -> str:
        return self.http.admin_socket or socket_beside(self.state_path, self.host)

    def pinned(self, path: str) -> dict[str, Any]:
        """Return what the source that names `path`, or a file rotated from it, says of a chunk."""
        absolute_path = realpath(path)
        for source in self.sources:
            if fnmatchcase(absolute_path, source.path + "*"):
                return {"prefix": source.prefix, "key": source.key, "zone": source.timezone}
        return {}

    @property
    def judged(self) -> tuple[Rule, ...]:
        """The rules without those of pairs that begin with what no source of ours brings.

        The host's halves of them would be kept for nothing. A rule test names no sources.
        """
        if not (self.sources or self.webhooks or self.apis):
            return self.rules
        ours = {hook.provider_name for hook in self.webhooks} | {"stripe" for _ in self.apis}
        return tuple(rule for rule in self.rules if _begins_among(rule, ours))

    @property
    def state_metrics(self) -> frozenset[str]:
        """The names of the metrics that count what is judged."""
        return frozenset(one.name for one in self.metrics if one.states_of is not None)

    @property
    def off(self) -> str:
        """What is switched off, for the log: an empty text, or `critical: email_configs, …`."""
        found = (f"{one.name}: {name}" for one in self.receivers.values() for name in one.off)
        return ", ".join(found)

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


def _begins_among(rule: Rule, sources: set[str]) -> bool:
    """Return whether a pair can begin with events that are read from a log, or from `sources`."""
    tests = () if rule.expect is None else rule.expect.first
    named = [text for test in tests if test.name == SOURCE for text in test.named_values()]
    return not named or any(name in sources or name.startswith(_OF_LOGS) for name in named)


def _files(node: Node, reading: Reading) -> tuple[str, ...]:
    scalar = text_of(node)
    file, pattern = scalar.place.file, scalar.text
    paths = [] if "\0" in pattern else reading.files.matching(file, pattern)
    if not paths:
        what = "matches no file" if glob.has_magic(pattern) else "does not exist"
        raise Wrong(f"{scalar.written} {what}", "paths are relative to this file")
    return tuple(paths)


Globs = tuple[Annotated[tuple[str, ...], Placed(_files, string())], ...]


class Global(Table):
    """The keys that receivers fall back on; each is declared by the kind that uses it."""

    __slots__ = ()
    kinds: ClassVar[tuple[AnyKind, ...]] = ()

    @classmethod
    def prepare(cls, values: dict[str, Node], reading: Reading) -> None:
        if reading.faults.placeholders:
            _let_stand_in(cls.kinds, values)
        asked = {key for kind in cls.kinds for keys in kind.config.asks for key in keys}
        slots = [slot for slot, one in _slots(cls.kinds).items() if one.name in asked]
        for slot in slots:
            written = [name for name in (slot, f"{slot}_file") if name in values]
            blank = [name for name in written if is_blank(values[name])]
            if blank and blank == written:
                reading.empty_globals[slot] = values[blank[0]].place
            for name in blank:
                del values[name]

    def check(self, reading: Reading) -> "Global":
        slots = _slots(self.kinds)
        for name in reading.node(self).values:
            one = slots.get(slot := name.removesuffix("_file"))
            if one is None or slot in reading.empty_globals:
                continue
            value = getattr(self, slot)
            # A faulty one counts as written: that it is missing would be said of each receiver.
            value = one.default if value is None and one.key.needed else value
            if value is not None:
                reading.globals[slot] = value
        for kind in self.kinds:
            kind.config.check_global(self, reading)
        return self


def _let_stand_in(kinds: Iterable[AnyKind], values: dict[str, Node]) -> None:
    """Take what receivers ask of `global`, and expands to nothing, as right: one of each."""
    for kind in kinds:
        for keys in kind.config.asks:
            slots = [declared(kind.config)[key].key.global_ for key in keys]
            given(values, slots, stand_in=True)


def _slots(kinds: Iterable[AnyKind]) -> dict[str, Declared]:
    """Return the keys of `global`, each with the key of a receiver that falls back on it."""
    keys = (one for kind in kinds for one in declared(kind.config).values())
    return {one.key.global_: one for one in keys if one.key.global_}


_NOT_OF_THE_ROOT = (
    "matchers",
    "match",
    "match_re",
    "continue",
    "mute_time_intervals",
    "active_time_intervals",
)


def _fill_in(values: dict[str, Node]) -> None:
    """Give what is not written: the rules in `rules/`, and a route to the first receiver."""
    if (told := values.get("receivers")) is None:
        return
    rules = Scalar(told.place, _RULES, f"without `rule_files`, {_RULES}")
    values.setdefault("rule_files", ListNode(told.place, (rules,)))
    first = told.items[0] if isinstance(told, ListNode) and told.items else None
    name = first.values.get("name") if isinstance(first, MapNode) else None
    if name is not None:
        root = MapNode(told.place, {"receiver": name}, {"receiver": name.place})
        values.setdefault("route", root)


@table
class Settings(Table):
    """Every key of `sidecar.yaml`, in the order in which they are read."""

    hints: ClassVar[dict[str, str]] = {
        "templates": "write `template_files`",
        "rules": "rules stand in files of their own, named under `rule_files`",
    }

    sources: tuple[Source, ...] = key("What to read, take and ask for.", schema={"minItems": 1})
    rule_files: Globs = key(
        "Globs of rule files, relative to this file; else `rules/*.rules.yaml`.", default=()
    )
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
    series_retention: Positive = key(
        "A gauge's series that got no sample for so long is gone.", default=RETENTION
    )
    redact: RedactPolicy = key(
        "What to hide beside tokens, passwords and addresses.", default=RedactPolicy()
    )
    external_url: MaybeUrl = key(
        "Where people reach what messages link relative to it, such as `runbook_url`.", default=None
    )
    external_labels: Mapping[str, Text] = key(
        "Labels on every alert in every message, for example env: production.",
        schema={"propertyNames": {"allOf": [LABEL, {"not": {"enum": ["alertname", "severity"]}}]}},
        default={},
    )
    drill: Annotated[DrillConfig | None, Nested(lambda: DrillConfig)] = key(
        "Whether alerts reach people, tried again and again.", default=None
    )
    heartbeat: Annotated[HeartbeatConfig | None, Nested(lambda: HeartbeatConfig)] = key(
        "Who outside is told that all is well.", default=None
    )
    inhibit_rules: tuple[InhibitRule, ...] = key(
        "Which alerts hold others back while they fire.", default=()
    )
    time_intervals: tuple[TimeInterval, ...] = key("Times that routes name.", default=())
    directory: Annotated[Directory | None, Nested(lambda: Directory)] = key(
        "Who owns which organisation, for mail to `'{{ owner_email }}'`.", default=None
    )
    global_: Global = key("Defaults of receivers.", "global", default=Global())
    receivers: tuple[Receiver, ...] = key("Who can be told.")
    route: Route = key(
        "Alertmanager's tree: which alert goes to whom; else all to the first receiver.",
        schema={
            "required": ["receiver"],
            "properties": dict.fromkeys(_NOT_OF_THE_ROOT, False),
        },
        default=Route(receiver=""),
    )

    @classmethod
    def prepare(cls, values: dict[str, Node], reading: Reading) -> None:
        _fill_in(values)
        root = values.get("route")
        if not isinstance(root, MapNode):
            return
        if "receiver" not in root.values:
            reading.faults.error(root.place, "`receiver` is missing")
        for name in _NOT_OF_THE_ROOT:
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
            if source.path == "-" and self.state.postgresql is not None:
                message = (
                    "while the database is away, what is written to stdin waits, and who writes it"
                )
                hint = "let it write to a file"
                reading.faults.warning(reading.place(source, "path"), message, hint)
            paths.add(source.path)
        self._check_webhooks(reading)
        node = reading.node(self).values.get("sources")
        if isinstance(node, ListNode) and not node.items:
            hint = "name at least one log file: - path: /var/log/webhook/*.log"
            reading.error(self, "sources", "`sources` is empty", hint)
        check_receivers(self.receivers, self.global_.kinds, self.route, reading)
        intervals = Names("time interval", reading.faults)
        for interval in self.time_intervals:
            intervals.claim(interval.name, reading.place(interval, "name"))
        self._check_intervals(self.route, intervals.places.keys(), reading)
        labels = reading.node(self).values.get("external_labels")
        for name, scalar in labels.values.items() if isinstance(labels, MapNode) else ():
            with reading.reporting(scalar):
                check_label(name, ("alertname", "severity"))
        return self

    @property
    def origin(self) -> Origin:
        return Origin(self.external_url or "", self.external_labels)

    def _check_webhooks(self, reading: Reading) -> None:
        taken: set[tuple[tuple[str, int], str]] = set()
        reads_logs = any(source.path for source in self.sources)
        for source in self.sources:
            if (hook := source.webhook) is not None and (hook.listen, hook.path) in taken:
                reading.error(hook, "path", "two webhooks have this address and path")
            if hook is not None:
                taken.add((hook.listen, hook.path))
            told = hook or source.stripe_api
            if told is not None and not told.org_id and reads_logs:
                message = "`org_id` falls back to the customer's id"
                hint = (
                    "where the log names organisations, what both say is told twice; write where "
                    "the event's object has the organisation: [metadata.org_id]"
                )
                reading.faults.warning(reading.node(told).place, message, hint)

    def _check_intervals(self, route: Route, known: Collection[str], reading: Reading) -> None:
        for name in ("mute_time_intervals", "active_time_intervals"):
            node = reading.node(route).values.get(name)
            for item in node.items if isinstance(node, ListNode) else ():
                if isinstance(item, Scalar) and item.text not in known:
                    hint = did_you_mean(item.text, known, "name it under `time_intervals`")
                    reading.faults.error(item.place, f"unknown time interval `{item.text}`", hint)
        for child in route.routes:
            self._check_intervals(child, known, reading)


def extended(base: type[_T], keys: Mapping[str, tuple[Any, Any]], **attributes: Any) -> type[_T]:
    """Return `base` with more keys, or other ones: name of the field -> its type and its `key`."""
    fields = [(name, hint, said) for name, (hint, said) in keys.items()]
    made = make_dataclass(
        base.__name__, fields, bases=(base,), namespace=attributes, frozen=True, kw_only=True
    )
    return cast("type[_T]", made)


def gathered(base: type[_T], into: str, keys: Mapping[str, tuple[str, Any, Any]]) -> type[_T]:
    """Return `base` with more keys, which are read into its mapping `into`.

    `keys`: name in that mapping -> name in the file, type and `key`. Made of them is a `base`; an
    empty value is left out.
    """

    def check(self: Any, reading: Reading) -> Any:
        fields = {field.name: getattr(self, field.name) for field in fields_of(base)}
        found = {name: getattr(self, written) for name, (written, _, _) in keys.items()}
        made = base(**fields | {into: {name: value for name, value in found.items() if value}})
        return reading.made(made, reading.node(self)).check(reading)

    more = {written: (hint, said) for written, hint, said in keys.values()}
    return extended(base, more, check=check)


@cache
def settings_of(kinds: tuple[AnyKind, ...]) -> type[Settings]:
    """Return what sidecar.yaml is where there are these kinds of receivers."""
    docs = {name: one.key.doc for name, one in declared(Settings).items()}
    defaults = extended(
        Global,
        {name: (one.hint, key(one.key.doc, default=None)) for name, one in _slots(kinds).items()},
        kinds=kinds,
    )
    sections = {
        kind.name: (kind.section, _several(kind.config), key(kind.doc, default=()))
        for kind in kinds
    }
    receiver = gathered(Receiver, "configs", sections)
    return extended(
        Settings,
        {
            "global_": (defaults, key(docs["global"], "global", default=defaults())),
            "receivers": (_several(receiver), key(docs["receivers"])),
        },
    )


def _several(kind: type[Table]) -> Any:
    return tuple[kind, ...]  # type: ignore[valid-type]  # known when it runs


def each_once(files: tuple[tuple[str, ...], ...]) -> list[str]:
    found: dict[str, str] = {}
    for path in (path for paths in files for path in paths):
        found.setdefault(realpath(path), path)
    return list(found.values())


def read_templates(
    settings: Settings, reading: Reading, kinds: Iterable[AnyKind]
) -> dict[str, str]:
    """Return the shipped templates with the user's laid over them, by base name."""
    templates = shipped_templates(kinds)
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


def check_templates(
    settings: Settings,
    templates: Mapping[str, str],
    rules: Iterable[Rule] | None,
    reading: Reading,
) -> None:
    """Report how the templates of receivers fail, filled once with stand-ins for alerts of `rules`.

    They are those written in sidecar.yaml, and the files that replace a shipped one; what these
    include is filled with them.
    """
    # It takes time, and few have templates.
    trial = cache(lambda: Trial(templates, rules, settings.origin))
    entries = (e for one in settings.receivers for entries in one.configs.values() for e in entries)
    for scalar in (scalar for entry in entries for scalar in templates_of(entry, reading)):
        check_message(scalar.text, scalar.at_line, trial(), reading.faults)
    shipped = shipped_templates(settings.global_.kinds)
    for path in each_once(settings.template_files):
        if (name := Path(path).name) in shipped and name in templates:
            check_message(templates[name], partial(Place, path), trial(), reading.faults)
