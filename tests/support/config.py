"""Configurations for tests: an environment, and the smallest complete sidecar.yaml."""

from collections.abc import Iterable
from pathlib import Path

from sidecar.config.load import Checked, check_files
from sidecar.parse.patterns import Pattern
from sidecar.syntax.faults import ConfigError

# Every secret in a test configuration holds this word, so that one search finds a leak.
SECRET = "hunter2"
ENVIRON = {"SECRET": SECRET, "TOKEN": f"xoxb-{SECRET}", "BURST": "7", "EMPTY": ""}

RULES = """\
groups:
  - name: billing
    rules:
      - alert: PaymentFailing
        condition: count() >= 1
        within: 1h
        labels: {severity: critical}
"""


def write_config(
    folder: Path, *, route: str = "", receivers: str = "", globals_: str = "", rest: str = ""
) -> str:
    """Write a complete sidecar.yaml with its rule file; the given parts replace the defaults."""
    (folder / "a.rules.yaml").write_text(RULES)
    path = folder / "sidecar.yaml"
    parts = (
        "sources: [{path: app.log}]" if "sources:" not in rest else "",
        "rule_files: [a.rules.yaml]" if "rule_files:" not in rest else "",
        globals_ or f"global: {{slack_app_token: xoxb-{SECRET}}}",
        route or "route: {receiver: team}",
        receivers or "receivers: [{name: team, slack_configs: [{channel: '#team'}]}]",
        rest,
    )
    path.write_text("\n".join(part for part in parts if part) + "\n")
    return str(path)


def load_rule_files(paths: Iterable[str]) -> Checked:
    """Return what rule files alone hold. Raises ConfigError."""
    return _sound(check_files(paths, ()))


def load_pattern_files(paths: Iterable[str]) -> tuple[Pattern, ...]:
    """Return the patterns of pattern files alone. Raises ConfigError."""
    return _sound(check_files((), paths)).patterns


def _sound(found: Checked) -> Checked:
    if found.errors:
        raise ConfigError(found.errors)
    return found
