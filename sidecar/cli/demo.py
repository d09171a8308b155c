"""`sidecar demo`: everything at once on this machine, never leaving loopback."""

import asyncio
import logging
import os
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

import click

from sidecar.cli.output import paint, say
from sidecar.clock import SystemClock
from sidecar.config.load import load_config
from sidecar.daemon.app import Daemon
from sidecar.daemon.telemetry import configure_log
from sidecar.demo.host import SECONDS, Host
from sidecar.demo.screen import MailSink, Screen, slack_sink
from sidecar.redact import Redactor, RedactPolicy
from sidecar.web.server import serve

# What is still under way when the story ends: a group_wait, a group_interval, a poll.
AFTERMATH_SECONDS = 4.0
_HERE = Path(__file__).parent
_CONFIG = """\
sources: [{{path: "{folder}/host.log", start_at: beginning}}]
pattern_files: ["{rules}/*.patterns.yaml"]
rule_files: ["{rules}/*.rules.yaml"]
state: {{path: "{folder}/state.db"}}
http: {{listen: "127.0.0.1:{port}"}}
global:
  slack_app_token: xoxb-demo
  slack_app_url: http://127.0.0.1:{slack_port}/api/chat.postMessage
  smtp_smarthost: 127.0.0.1:{smtp_port}
  smtp_from: sidecar@demo.invalid
  smtp_require_tls: false
# The tiers of sidecar.yaml with intervals of seconds, so that half a minute shows them all.
route:
  receiver: warning
  group_by: [alertname]
  group_wait: 1s
  group_interval: 3s
  repeat_interval: 1h
  cooldown: 5s
  routes:
    - {{matchers: ['severity="critical"'], receiver: critical, group_by: [alertname, org_id], group_wait: 0s}}
    - {{matchers: ['severity="error"'], receiver: error, group_wait: 0s}}
    - {{matchers: ['severity="info"'], receiver: info}}
receivers:
  - name: critical
    slack_configs: [{{channel: "#critical-alerts"}}]
    email_configs: [{{to: oncall@demo.invalid}}]
  - name: error
    slack_configs: [{{channel: "#critical-alerts"}}]
  - name: warning
    slack_configs: [{{channel: "#warnings"}}]
    email_configs: [{{to: team@demo.invalid}}]
  - name: info
    slack_configs: [{{channel: "#notifications"}}]
"""  # noqa: E501 - a route a line


@click.command()
@click.option("--seconds", default=SECONDS, show_default=True, help="How long the host lives.")
@click.option("--port", default=9787, show_default=True, help="Where /metrics listens.")
def demo(seconds: float, port: int) -> None:
    """Show the whole job: a pretend host, local Slack and mail sinks, and the daemon."""
    # Loopback only, whatever proxy this machine is told to use.
    os.environ["NO_PROXY"] = "*"
    # The screen tells the story; our own log speaks up only when something is wrong.
    configure_log(redact=Redactor(RedactPolicy()).text, level=logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="sidecar-demo-") as folder:
        try:
            asyncio.run(_demo(Path(folder), seconds, port if _free(port) else 0))
        except* BrokenPipeError:  # the reader of our output went away: `sidecar demo | head`
            sys.exit(0)


async def _demo(folder: Path, seconds: float, port: int) -> None:
    screen, stop, served = Screen(say), asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    slack_port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    smtp, smtp_port = await MailSink(screen.mail).start()
    async with smtp, asyncio.TaskGroup() as group:
        slack = slack_sink(screen.slack)
        group.create_task(serve(slack, ("127.0.0.1", 0), served, slack_port.set_result))
        text = _CONFIG.format(
            folder=folder,
            rules=rules_folder(),
            port=port,
            slack_port=await slack_port,
            smtp_port=smtp_port,
        )
        (folder / "sidecar.yaml").write_text(text, encoding="utf-8")
        (folder / "host.log").touch()
        started = time.time()
        url = await _daemon(group, folder, screen, stop, served)
        await _host(folder / "host.log", screen, stop, seconds)
        stop.set()
        await served.wait()
    screen.summary(time.time() - started, url)


async def _daemon(
    group: asyncio.TaskGroup,
    folder: Path,
    screen: Screen,
    stop: asyncio.Event,
    served: asyncio.Event,
) -> str:
    """Start the daemon; return the address of its /metrics once it listens."""
    listening: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    config = load_config(str(folder / "sidecar.yaml"), {})
    daemon = Daemon(
        config, clock=SystemClock(), on_step=screen.step, on_listen=listening.set_result
    )

    async def run() -> None:
        try:
            await daemon.run(stop)
        finally:
            served.set()

    group.create_task(run())
    url = f"http://127.0.0.1:{await listening}/metrics"
    say(paint(f"  metrics at {url}; Ctrl-C ends it early", bold=True))
    return url


async def _host(path: Path, screen: Screen, stop: asyncio.Event, seconds: float) -> None:
    """Write the story to `path` as time goes by, then wait for its last messages."""
    clock = SystemClock()
    started = clock.now()
    with path.open("ab", buffering=0) as log:
        for after, line in Host(started).lines():
            wait = started + after - clock.now()
            if after > seconds or (wait > 0 and await clock.wait(stop, wait)):
                break
            screen.line(line)
            log.write(line)
    await clock.wait(stop, AFTERMATH_SECONDS)


def rules_folder() -> Path:
    """Return the shipped rules: beside this module in a wheel, at the top of a checkout."""
    packed = _HERE.parent / "demo" / "rules"
    return packed if packed.is_dir() else _HERE.parent.parent / "rules"


def _free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
