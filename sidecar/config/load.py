"""From `sidecar.yaml` and the files it names to the frozen Config, or every fault at once."""

from collections.abc import Iterable, Mapping

import msgspec

from sidecar.config.rulefiles import read_pattern_files, read_rule_files
from sidecar.config.settings import Config, Settings, each_once, read_templates
from sidecar.measure.series import Metric
from sidecar.notify.model import Receiver, Route
from sidecar.parse.patterns import Pattern
from sidecar.render.check import check_template_file
from sidecar.rules.rule import Rule
from sidecar.syntax.faults import ConfigError, Fault, Faults
from sidecar.syntax.files import read_text
from sidecar.syntax.table import Reading
from sidecar.syntax.tree import compose, expand


class Found(msgspec.Struct, frozen=True):
    """How many of each thing were read, for `sidecar check`'s last line."""

    rules: int = 0
    metrics: int = 0
    patterns: int = 0
    receivers: int = 0
    templates: int = 0


class Checked(msgspec.Struct, frozen=True):
    """The result of reading, whether it went well or not. `config` is None if it did not."""

    config: Config | None
    faults: tuple[Fault, ...]
    found: Found
    rules: tuple[Rule, ...] = ()
    metrics: tuple[Metric, ...] = ()
    patterns: tuple[Pattern, ...] = ()


class Loaded(msgspec.Struct, frozen=True):
    """A usable configuration, and what is doubtful about it."""

    config: Config
    warnings: tuple[Fault, ...]


def load_config(path: str, environ: Mapping[str, str]) -> Config:
    """Return the configuration in `path`. Raises ConfigError with every fault of every file."""
    return load(path, environ).config


def load(path: str, environ: Mapping[str, str]) -> Loaded:
    """Return the configuration and its warnings. Raises ConfigError."""
    faults = Faults()
    config, _ = _read_config(path, environ, faults)
    if config is None or faults.errors:
        raise ConfigError(faults.errors)
    return Loaded(config, faults.warnings)


def check_config(path: str, environ: Mapping[str, str]) -> Checked:
    """Read everything and raise nothing."""
    faults = Faults()
    config, found = _read_config(path, environ, faults)
    return Checked(None if faults.errors else config, faults.all, found)


def check_files(
    rule_files: Iterable[str], pattern_files: Iterable[str], template_files: Iterable[str]
) -> Checked:
    """Read rule, pattern and template files together, without a configuration."""
    faults = Faults()
    files = read_rule_files(rule_files, faults)
    patterns = read_pattern_files(pattern_files, faults)
    templates = [check_template_file(path, faults) for path in template_files]
    found = Found(
        rules=len(files.rules),
        metrics=len(files.metrics),
        patterns=len(patterns),
        templates=len(templates),
    )
    return Checked(
        None, faults.all, found, tuple(files.rules), tuple(files.metrics), tuple(patterns)
    )


def unrouted(checked: Checked) -> Config:
    """Return a configuration of rule and pattern files alone, without anybody to tell."""
    return Config(
        path="",
        sources=(),
        patterns=checked.patterns,
        rules=checked.rules,
        metrics=checked.metrics,
        state_path="",
        route=Route(id="", receiver="nobody"),
        receivers={"nobody": Receiver(name="nobody")},
    )


def _read_config(
    path: str, environ: Mapping[str, str], faults: Faults
) -> tuple[Config | None, Found]:
    text = read_text(path, faults)
    root = text and compose(text, path, faults, lambda scalar: expand(scalar, environ))
    reading = Reading(faults)
    settings = reading.read(Settings, root or None)
    if settings is None:
        return None, Found()
    config = _config(settings, reading, path)
    found = Found(
        rules=len(config.rules),
        metrics=len(config.metrics),
        patterns=len(config.patterns),
        receivers=len(config.receivers),
        templates=len(config.templates),
    )
    return config, found


def _config(settings: Settings, reading: Reading, path: str) -> Config:
    rule_files = read_rule_files(each_once(settings.rule_files), reading.faults)
    patterns = read_pattern_files(each_once(settings.pattern_files), reading.faults)
    return Config(
        path=path,
        sources=settings.sources,
        patterns=tuple(patterns),
        rules=tuple(rule_files.rules),
        metrics=tuple(rule_files.metrics),
        templates=read_templates(settings, reading),
        state_path=settings.state.path,
        listen=settings.http.listen,
        http_token=settings.http.token,
        stale_after=settings.stale_after,
        redact=settings.redact,
        route=settings.route.below(None, reading),
        receivers={receiver.name: receiver for receiver in settings.receivers},
    )
