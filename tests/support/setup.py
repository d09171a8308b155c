"""What a sidecar needs in its folder: a configuration, a rule to judge by, lines to read."""

import json
from collections.abc import Mapping
from pathlib import Path

# A message an alert at once: what is told how often can then be counted by looking at the messages.
EACH = 'group_wait: 0s, group_by: ["..."]'
_FAST = "rate: {per_second: 1000, burst: 1000}"


def slack_to(url: str) -> str:
    return f'slack_configs: [{{channel: "#c", api_url: "{url}", {_FAST}}}]'


def mail_to(port: int) -> tuple[str, str]:
    """Return the receiver's part and the global one for a mail server on loopback."""
    host = f'smtp_smarthost: "127.0.0.1:{port}", smtp_from: s@example.com, smtp_require_tls: false'
    return f"email_configs: [{{to: a@example.com, {_FAST}}}]", f"global: {{{host}}}"


def configure(
    folder: Path,
    *receives: str,
    logs: str = "app.log",
    rules: Path | str = "*.rules.yaml",
    route: str = EACH,
    port: int = 0,
    more: str = "",
) -> Path:
    """Write sidecar.yaml, which reads `logs` from their beginning; return its path.

    Paths are relative to `folder`. The one receiver has the integrations `receives`; without any
    nobody is told. `more` are further lines at the top.
    """
    path = folder / "sidecar.yaml"
    lines = (
        f'sources: [{{path: "{logs}", start_at: beginning}}]',
        f'rule_files: ["{rules}"]',
        "state: {path: state.db}",
        f'http: {{listen: "127.0.0.1:{port}"}}',
        "stale_after: 3650d",
        f"route: {{receiver: team, {route}}}",
        f"receivers: [{{{', '.join(['name: team', *receives])}}}]",
        more,
    )
    path.write_text("\n".join(lines) + "\n")
    return path


def write_rule(folder: Path, times: int = 2, *, more: str = "") -> None:
    """Write the rule `Failing`: an organisation failed so many `times`; `more` are further keys."""
    (folder / "failing.rules.yaml").write_text(f"""\
groups:
  - name: g
    rules:
      - alert: Failing
        match: ['status="failed"']
        by: [org_id]
        condition: count() >= {times}
        within: 30d
        labels: {{severity: critical}}
        annotations: {{summary: '{{{{ labels.org_id }}}} failed.'}}
{more}""")


def record(status: str, org: str = "org_1", **more: object) -> dict[str, object]:
    """Return a record as the host logs it."""
    return {
        "metric_type": "WEBHOOK_METRIC", "webhook_provider": "stripe",
        "event_type": "invoice.payment_failed", "status": status,
        "timestamp": "2026-11-02T08:00:00", "org_id": org, **more,
    }  # fmt: skip


def append(log: Path, *records: Mapping[str, object]) -> None:
    """Write a line a record."""
    with log.open("a") as file:
        file.writelines(json.dumps(one) + "\n" for one in records)
