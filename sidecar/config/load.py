"""From `sidecar.yaml` and the files it names to the frozen Config, or every fault at once."""

from collections.abc import Iterable, Mapping

import msgspec

from sidecar.config.defaults import read_defaults
from sidecar.config.environment import expand
from sidecar.config.faults import ConfigError, Fault, Faults
from sidecar.config.files import read_text
from sidecar.config.model import Config
from sidecar.config.nodes import compose
from sidecar.config.patternfiles import read_pattern_files
from sidecar.config.reader import Reader, read_table
from sidecar.config.receivers import read_receivers
from sidecar.config.routes import read_route
from sidecar.config.rulefiles import read_rule_files
from sidecar.config.settings import (
    named_files,
    read_http,
    read_redact,
    read_sources,
    read_state_path,
    read_templates,
)
from sidecar.config.templates import check_template_file
from sidecar.measure.metric import Metric
from sidecar.notify.model import Receiver, Route
from sidecar.parse.pattern import Pattern
from sidecar.rules.rule import Rule

_STALE_AFTER = 3600.0
_HINTS = {
    "templates": "write `template_files`",
    "rules": "rules stand in files of their own, named under `rule_files`",
}


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


class LoadedRules(msgspec.Struct, frozen=True):
    rules: tuple[Rule, ...]
    metrics: tuple[Metric, ...]
    warnings: tuple[Fault, ...]


class LoadedPatterns(msgspec.Struct, frozen=True):
    patterns: tuple[Pattern, ...]
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


def load_rule_files(paths: Iterable[str]) -> LoadedRules:
    """Return the rules and metrics of rule files alone. Raises ConfigError."""
    faults = Faults()
    files = read_rule_files(paths, faults)
    faults.raise_errors()
    return LoadedRules(tuple(files.rules), tuple(files.metrics), faults.warnings)


def load_pattern_files(paths: Iterable[str]) -> LoadedPatterns:
    """Return the patterns of pattern files alone. Raises ConfigError."""
    faults = Faults()
    patterns = read_pattern_files(paths, faults)
    faults.raise_errors()
    return LoadedPatterns(tuple(patterns), faults.warnings)


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
    reader = read_table(root, faults) if root else None
    if reader is None:
        return None, Found()
    config = _config(reader, path)
    found = Found(
        rules=len(config.rules),
        metrics=len(config.metrics),
        patterns=len(config.patterns),
        receivers=len(config.receivers),
        templates=len(config.templates),
    )
    return config, found


def _config(root: Reader, path: str) -> Config:
    root.require("sources", "rule_files", "route", "receivers")
    receivers, places = read_receivers(root, read_defaults(root.table("global")))
    rule_files = read_rule_files(named_files(root, "rule_files"), root.faults)
    listen, token = read_http(root)
    config = Config(
        path=path,
        sources=read_sources(root),
        patterns=tuple(read_pattern_files(named_files(root, "pattern_files"), root.faults)),
        rules=tuple(rule_files.rules),
        metrics=tuple(rule_files.metrics),
        templates=read_templates(root),
        state_path=read_state_path(root),
        listen=listen,
        http_token=token,
        stale_after=root.duration("stale_after", _STALE_AFTER, positive=True),
        redact=read_redact(root),
        route=read_route(root, places),
        receivers=receivers,
    )
    root.close(_HINTS)
    return config
