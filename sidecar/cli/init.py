"""`sidecar init`, a first configuration that works with a rule and its test, and `completion`."""

import re
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from sidecar.cli import rules_folder
from sidecar.cli.client import CANNOT, end
from sidecar.cli.output import say

_PROVIDER = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_SLACK = '    slack_configs: [{api_url: "${SLACK_WEBHOOK_URL}"}]'
_MAIL = (
    '    email_configs: [{to: "${ALERT_EMAIL}", from: "${ALERT_EMAIL}", '
    'smarthost: "${SMTP_SMARTHOST}"}]'
)
_TOLD = {"slack": [_SLACK], "mail": [_MAIL], "both": [_SLACK, _MAIL]}
_NEEDS = {
    "slack": "SLACK_WEBHOOK_URL",
    "mail": "ALERT_EMAIL and SMTP_SMARTHOST (host:port)",
    "both": "SLACK_WEBHOOK_URL, ALERT_EMAIL and SMTP_SMARTHOST (host:port)",
}
_RULE = """\
groups:
  - name: first
    rules:
      - alert: PaymentFailing
        match: ['webhook_provider="{provider}"', 'status="payment_failure"']
        by: [org_id]
        condition: count() >= 3
        within: 7d
        resolve: {{match: ['status="billing_period_paid"']}}
        labels: {{severity: critical}}
        annotations: {{summary: 'Payment of {{{{ labels.org_id }}}} failed {{{{ value }}}} times.'}}
"""
_TEST = """\
rule_files: [first.rules.yaml]
tests:
  - name: three failures of one organisation
    input_events:
      - {{webhook_provider: {provider}, event_type: invoice.payment_failed, status: payment_failure, org_id: a}}
      - {{webhook_provider: {provider}, event_type: invoice.payment_failed, status: payment_failure, org_id: b}}
      - {{webhook_provider: {provider}, event_type: invoice.payment_failed, status: payment_failure, org_id: a}}
      - {{webhook_provider: {provider}, event_type: invoice.payment_failed, status: payment_failure, org_id: a}}
    alert_rule_test:
      - {{eval_time: 5m, alertname: PaymentFailing, exp_alerts: [{{exp_labels: {{org_id: a, severity: critical}}}}]}}
"""  # noqa: E501 - an event a line is how they are read


@click.command()
@click.option(
    "--tell",
    type=click.Choice(list(_TOLD)),
    prompt="Who is told",
    default="slack",
    help="Slack, mail, or both.  [default: slack]",
)
@click.option(
    "--log",
    prompt="The log to read, a glob",
    default="/var/log/webhook/*.log",
    help="The log to read.  [default: /var/log/webhook/*.log]",
)
@click.option(
    "--provider",
    prompt="Whose webhooks",
    default="stripe",
    help="As the host logs it in webhook_provider.  [default: stripe]",
)
@click.argument(
    "folder", default=".", type=click.Path(file_okay=False, path_type=Path), metavar="[FOLDER]"
)
def init(tell: str, log: str, provider: str, folder: Path) -> None:
    """Write sidecar.yaml, one rule and its test into FOLDER, by default here.

    And the shipped rules about the sidecar itself: that a log cannot be read, that Slack refuses.
    What is not given is asked. Nothing is overwritten: exit code 2 if one of the files is there.
    """
    if _PROVIDER.fullmatch(provider) is None:
        end(f"{provider!r} is no provider's name; write for example stripe", CANNOT)
    texts = {
        "sidecar.yaml": configuration(tell, log),
        "rules/first.rules.yaml": _RULE.format(provider=provider),
        "rules/first.test.yaml": _TEST.format(provider=provider),
        "rules/sidecar.rules.yaml": _own_rules(),
    }
    there = [name for name in texts if (folder / name).exists()]
    if there:
        end(f"{', '.join(there)} is there already; nothing is written", CANNOT)
    try:
        (folder / "rules").mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text)
            say(f"wrote {folder / name}")
    except OSError as wrong:
        end(f"{folder} cannot be written to: {wrong.strerror}", CANNOT)
    _next(tell, folder)


def configuration(tell: str, log: str) -> str:
    """Return a sidecar.yaml of at most ten lines."""
    lines = [
        f"sources: [{{path: {_quoted(log)}}}]",
        "rule_files: [rules/*.rules.yaml]",
        "state: {path: state.db}",
        'http: {listen: "127.0.0.1:9787"}   # the page, the API and /metrics',
        "route: {receiver: team, group_by: [alertname, org_id], group_wait: 0s}",
        "receivers:",
        "  - name: team",
        *_TOLD[tell],
    ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """Return a text as YAML has it in double quotes (YAML 1.2, 7.3.1)."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{plain}"'


def _own_rules() -> str:
    """Return the shipped rules about the sidecar, without the checkout's place of the schema."""
    text = (rules_folder() / "sidecar.rules.yaml").read_text()
    return text.partition("\n")[2] if text.startswith("# yaml-language-server") else text


def _next(tell: str, folder: Path) -> None:
    config = folder / "sidecar.yaml"
    say()
    say("Next:")
    say(f"  sidecar test {folder / 'rules'}")
    say(f"  set {_NEEDS[tell]} in the environment, then")
    say(f"  sidecar check -c {config} && sidecar notify team -c {config}")
    say(f"  sidecar run -c {config}")
    say()
    say("The rule waits for lines with WEBHOOK_METRIC. What is read of yours:")
    say("  sidecar parse YOUR.log   # docs/first-rule.md makes events of lines without it")


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    Into ~/.bashrc: eval "$(sidecar completion bash)". Into ~/.zshrc the same with zsh. For fish:
    sidecar completion fish > ~/.config/fish/completions/sidecar.fish
    """
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"this version of click knows no completion for {shell}")
    script = found(ctx.find_root().command, {}, "sidecar", "_SIDECAR_COMPLETE")
    for line in script.source().splitlines():
        say(line)
