"""The `sidecar` command: one module per subcommand, imported only when it is called.

Exit codes: 0 fine, 1 found problems, 2 wrong usage or cannot start.
"""

import importlib

import click

from sidecar import __version__

# Subcommand -> the module that holds a click command of the same name.
_COMMANDS = {
    "run": "sidecar.cli.run",
    "demo": "sidecar.cli.demo",
    "check": "sidecar.cli.check",
    "test": "sidecar.cli.test",
    "replay": "sidecar.cli.replay",
    "alerts": "sidecar.cli.alerts",
    "resolve": "sidecar.cli.resolve",
    "schema": "sidecar.cli.schema",
    "healthcheck": "sidecar.cli.healthcheck",
}


class _Lazy(click.Group):
    """A group that imports a subcommand when it is asked for, so that each starts fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        command = getattr(importlib.import_module(_COMMANDS[cmd_name]), cmd_name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{_COMMANDS[cmd_name]}.{cmd_name} is not a click command")
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sidecar")
def main() -> None:
    """Tail WEBHOOK_METRIC log lines, export Prometheus series, alert Slack and mail."""
