"""From `sidecar.yaml` and the files it names to the frozen Config, or every fault at once."""

import glob
import os
import pwd
import ssl
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from posixpath import exists, isdir, isfile  # which never raise

import msgspec

from sidecar.config.routelint import check_owners, warn_of_routes
from sidecar.config.rulefiles import read_pattern_files, read_rule_files
from sidecar.config.settings import (
    Config,
    Settings,
    check_templates,
    each_once,
    read_templates,
    settings_of,
)
from sidecar.measure.series import Metric
from sidecar.notify.model import Receiver, Route
from sidecar.parse.event import OWN_PROVIDER
from sidecar.parse.patterns import Pattern
from sidecar.receivers import KINDS
from sidecar.receivers.base import AnyKind
from sidecar.receivers.proxy import HttpConfig, in_force
from sidecar.render.check import check_template_file
from sidecar.rules.rule import Rule
from sidecar.syntax.faults import ConfigError, Fault, Place
from sidecar.syntax.files import FileSnapshot, mounted_alone, mountinfo
from sidecar.syntax.table import Reading


class Checked(msgspec.Struct, frozen=True):
    """What was read, whether it went well or not. `config` is None if it did not."""

    faults: tuple[Fault, ...]
    config: Config | None = None
    rules: tuple[Rule, ...] = ()
    metrics: tuple[Metric, ...] = ()
    patterns: tuple[Pattern, ...] = ()
    receivers: Collection[str] = ()
    templates: Collection[str] = ()
    snapshot: FileSnapshot = FileSnapshot()

    @property
    def errors(self) -> tuple[Fault, ...]:
        return tuple(fault for fault in self.faults if fault.severity == "error")


def load_config(
    path: str, environ: Mapping[str, str], kinds: tuple[AnyKind, ...] = KINDS
) -> Config:
    """Return the configuration in `path`. Raises ConfigError with every fault of every file."""
    checked = check_config(path, environ, kinds)
    if checked.config is None:
        raise ConfigError(checked.errors)
    return checked.config


def check_config(
    path: str,
    environ: Mapping[str, str],
    kinds: tuple[AnyKind, ...] = KINDS,
    *,
    placeholders: bool = False,
    files: bool = False,
    unwatched: bool = False,
) -> Checked:
    """Read everything and raise nothing; variables in `path` are taken from `environ`.

    With `placeholders`, variables that are not set and secrets' files that are not there are taken
    to be right: the result is to be looked at, not to be run. With `files`, warn of logs and the
    state file that this user, on this machine, cannot read or write. With `unwatched`, warn where
    no rule would tell of trouble of the sidecar itself.
    """
    reading = Reading()
    reading.faults.placeholders = placeholders
    settings = reading.read(settings_of(kinds), path, environ)
    if settings is None:
        return Checked(reading.faults.all, snapshot=reading.files.snapshot)
    if files:
        _warn_of_files(settings, reading)
    config = _config(settings, reading, path, kinds)
    if unwatched and not reading.faults.errors:
        _warn_of_unwatched(settings, config.rules, reading)
    return Checked(
        reading.faults.all,
        None if reading.faults.errors else config,
        config.rules,
        config.metrics,
        config.patterns,
        config.receivers,
        config.templates,
        config.snapshot,
    )


def check_files(
    rule_files: Iterable[str], pattern_files: Iterable[str], template_files: Iterable[str] = ()
) -> Checked:
    """Read rule, pattern and template files together, without a configuration."""
    reading = Reading()
    rules, metrics = read_rule_files(rule_files, reading)
    patterns = read_pattern_files(pattern_files, reading)
    templates = {path: check_template_file(path, reading) for path in template_files}
    return Checked(
        reading.faults.all,
        None,
        rules,
        metrics,
        patterns,
        templates=templates,
        snapshot=reading.files.snapshot,
    )


def unrouted(
    rules: Iterable[Rule] = (),
    metrics: Iterable[Metric] = (),
    patterns: Iterable[Pattern] = (),
    path: str = "",
) -> Config:
    """Return a configuration of rules alone, without anybody to tell."""
    return Config(
        path=path,
        sources=(),
        patterns=tuple(patterns),
        rules=tuple(rules),
        metrics=tuple(metrics),
        state_path="",
        route=Route(receiver=NOBODY),
        receivers={NOBODY: Receiver(name=NOBODY)},
    )


NOBODY = "nobody"


def _warn_of_mounts(settings: Settings, reading: Reading) -> None:
    """Warn of logs whose next file, after a rotation, is not seen here."""
    mounts = mountinfo()
    for source in settings.sources:
        for path in mounted_alone(source.path, mounts):
            message = f"{path} is mounted by itself: after its first rotation nothing is read"
            place = reading.place(source, "path")
            reading.faults.warning(place, message, "mount the folder that it lies in")


def _warn_of_files(settings: Settings, reading: Reading) -> None:
    """Warn of logs that are not there or cannot be read, and of a state file nobody can write."""
    for source in settings.sources:
        if source.path not in {"", "-"}:
            for message, hint in log_doubts(source.path):
                reading.faults.warning(reading.place(source, "path"), message, hint)
    if settings.state.postgresql is not None:
        return
    if doubt := state_doubt(Path(settings.state.path)):
        written = "state" in reading.node(settings).values
        table: tuple[object, str] = (settings.state, "path") if written else (settings, "")
        reading.faults.warning(reading.place(*table), *doubt)


def _warn_of_unwatched(settings: Settings, rules: Iterable[Rule], reading: Reading) -> None:
    """Warn where there are rules, and none takes the sidecar's own events."""
    abouts = [rule.about_us for rule in rules]
    if abouts and not any(abouts):
        node = reading.node(settings)
        place = node.places.get("rule_files", node.place)
        message = f'no rule takes the sidecar\'s own events (`webhook_provider="{OWN_PROVIDER}"`)'
        then = "nobody is told when a log cannot be read or Slack refuses"
        hint = "add the shipped rules/sidecar.rules.yaml to `rule_files`"
        reading.faults.warning(place, f"{message}: {then}", hint)


def log_doubts(pattern: str) -> Iterator[tuple[str, str]]:
    """Yield why of a source's files, as they lie on disk now, nothing is read, and what to do."""
    found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
    regular = [path for path in found if isfile(path)]
    for path in regular:
        if not _may(path, os.R_OK):
            yield f"{path} cannot be read by {_user()}", "let that user, or its group, read it"
    for path in () if regular else found:
        if isdir(path):
            yield f"{path} is a directory, no log", f"write for example {path}/*.log"
        elif not exists(path):
            yield f"{path} leads to nothing that {_user()} can see", "mend the link"
        else:
            hint = "a FIFO is read as stdin: write `-`, and `sidecar run < FIFO`"
            yield f"{path} is no regular file: nothing is read of it", hint
    if not found:
        folder = Path(pattern.partition("*")[0].partition("?")[0].partition("[")[0] + "x").parent
        doubt = _folder_doubt(folder, os.R_OK | os.X_OK, "read")
        yield doubt or (f"no file matches {pattern}", "the sidecar waits until one does")


def state_doubt(path: Path) -> tuple[str, str] | None:
    """Return why no state can be kept at `path` as it is on disk now, and what to do."""
    if isdir(path):
        return f"{path} is a directory, no state file", f"write for example {path}/state.db"
    if exists(path) and not _may(str(path), os.R_OK | os.W_OK):
        return f"{path} cannot be written by {_user()}", "give it to the user of the sidecar"
    return _folder_doubt(path.parent, os.W_OK | os.X_OK, "written")


def _folder_doubt(folder: Path, access: int, done: str) -> tuple[str, str] | None:
    try:
        folder.stat()
    except PermissionError:
        return f"folder {folder} cannot be looked at by {_user()}", "let that user reach it"
    except OSError as wrong:
        return f"folder {folder}: {wrong.strerror}", "create it, or mend the path"
    if not _may(str(folder), access):
        return f"folder {folder} cannot be {done} by {_user()}", "let that user do so"
    return None


def _may(path: str, access: int) -> bool:
    return os.access(path, access, effective_ids=os.access in os.supports_effective_ids)


def _user() -> str:
    """Return who runs this, by name where there is one."""
    try:
        return f"user {pwd.getpwuid(os.geteuid()).pw_name}"
    except KeyError:
        return f"user {os.geteuid()}"


def _check_trust(path: str, reading: Reading) -> None:
    """Report where the environment names certificates that nobody can read."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        if written := reading.environ.get(name):
            file, folder = (written, None) if name.endswith("FILE") else (None, written)
            try:
                Path(written).stat()
                ssl.create_default_context(cafile=file, capath=folder)
            except (OSError, ValueError) as wrong:
                why = getattr(wrong, "strerror", None) or "it holds no certificates"
                message = f"{name} in the environment cannot be used: {written}: {why}"
                reading.faults.error(Place(path), message, "mend or unset it")


def _all_http(settings: Settings, by: HttpConfig) -> Iterable[HttpConfig]:
    entries = (e for one in settings.receivers for found in one.configs.values() for e in found)
    return [by, *(e.http_config for e in entries if hasattr(e, "http_config"))]


def _config(settings: Settings, reading: Reading, path: str, kinds: tuple[AnyKind, ...]) -> Config:
    before = reading.faults.errors
    _warn_of_mounts(settings, reading)
    rules, metrics = read_rule_files(each_once(settings.rule_files), reading)
    known = rules if reading.faults.errors == before else None
    templates = read_templates(settings, reading, kinds)
    check_templates(settings, templates, known, reading)
    _check_trust(path, reading)
    if settings.drill is not None:
        settings.drill.check_rules(rules, reading)
    by = reading.globals.get("http_config") or HttpConfig()
    database = settings.state.postgresql
    route = settings.route.below(None, reading)
    check_owners(reading, settings.receivers, settings.directory, settings.route, route)
    if not reading.faults.errors:
        warn_of_routes(reading, settings.route, route, rules)
    return Config(
        path=path,
        sources=tuple(source for source in settings.sources if source.path),
        apis=tuple(source.stripe_api for source in settings.sources if source.stripe_api),
        webhooks=tuple(source.webhook for source in settings.sources if source.webhook),
        patterns=read_pattern_files(each_once(settings.pattern_files), reading),
        rules=rules if database is None else tuple(rule.in_fleet for rule in rules),
        metrics=metrics,
        templates=templates,
        state_path=settings.state.path,
        state_url=None if database is None else database.url,
        host=settings.state.host_name,
        judges=database is None or settings.state.judge,
        http=settings.http,
        stale_after=settings.stale_after,
        series_retention=settings.series_retention,
        redact=settings.redact,
        origin=settings.origin,
        route=route,
        receivers={receiver.name: receiver for receiver in settings.receivers},
        inhibit_rules=settings.inhibit_rules,
        drill=settings.drill,
        heartbeat=settings.heartbeat,
        http_config=by,
        proxy=in_force(_all_http(settings, by), reading.environ),
        directory=settings.directory,
        time_intervals={interval.name: interval for interval in settings.time_intervals},
        kinds=kinds,
        snapshot=reading.files.snapshot,
    )
