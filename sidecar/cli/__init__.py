"""The `sidecar` command: a module for a subcommand or a few, imported only when one is called.

`output` is how they print, `client` how some of them ask a running daemon, `configured` how others
read the configuration and logs. Exit codes: 0 fine, 1 found problems, 2 wrong usage or cannot
start.
"""

import difflib
import gc
import importlib
import os
import sys
from pathlib import Path
from typing import Any

import click

from sidecar import __version__
from sidecar.secret import printable

CONFIG_FILES = ("sidecar.yaml", "/etc/sidecar/sidecar.yaml")


def default_config() -> str:
    """Return the configuration that is meant where no -c is given: here, else in /etc."""
    return next((path for path in CONFIG_FILES if Path(path).is_file()), CONFIG_FILES[0])


def config_there() -> str:
    """Return `default_config`; where there is none, raises UsageError with how to get one."""
    path = default_config()
    if not Path(path).is_file():
        raise click.UsageError(
            f"no {' or '.join(CONFIG_FILES)} is there; name yours with -c, or let `sidecar init`"
            " write a first one"
        )
    return path


def rules_folder() -> Path:
    """Return the shipped rules: in the package of a wheel, at the top of a checkout."""
    packed = Path(__file__).parent / "rules"
    return packed if packed.is_dir() else Path(__file__).parents[2] / "rules"


def as_utf8(argument: str) -> str:
    """Return an argument as the bytes that were given mean it, whatever the locale says.

    What is no UTF-8 is the replacement character, as it is in what a log says.
    """
    return os.fsencode(argument).decode(errors="replace")


# What `sidecar --help` says of each, so that it imports none.
_COMMANDS = {
    "run": "Run the daemon until SIGTERM or Ctrl-C.",
    "demo": "Show the whole job with a pretend host and local sinks.",
    "check": "Report every fault of a configuration and its rules.",
    "test": "Run the tests of rules.",
    "parse": "Say of each line of a log what is read from it, or why nothing.",
    "replay": "Show what would have been sent for the history in logs.",
    "render": "Show the message that a receiver would get.",
    "notify": "Send one test message to a receiver.",
    "drill": "Make an alert fire on purpose, and show each stage.",
    "alerts": "List the alerts that are pending or firing.",
    "route": "Show who would be told of an alert with given labels.",
    "rules": "List the rules and how each stands.",
    "explain": "Show why something was told, or was not.",
    "ack": "Say that somebody has taken what fires.",
    "silence": "Have alerts told to nobody for a while.",
    "resolve": "End an alert by hand.",
    "metrics": "Prune series of the running daemon.",
    "init": "Write a first configuration, a rule and its test.",
    "backup": "Copy the state file while the daemon runs.",
    "completion": "Print what makes a shell complete commands.",
    "schema": "Print the JSON Schema of one kind of file.",
    "healthcheck": "Ask the daemon whether it is healthy.",
}
# Whose module is not called like the command.
_MODULES = {
    **dict.fromkeys(("ack", "resolve", "drill", "silence", "rules", "metrics"), "alerts"),
    **dict.fromkeys(("route", "notify"), "render"),
    "backup": "run",
    "completion": "init",
    "healthcheck": "client",
    "schema": "check",
}


class _Lazy(click.Group):
    """A group that imports a subcommand when it is called, so that each starts fast.

    The click command in the module is called like the command.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        gc.disable()  # importing makes no garbage, and to look for it takes time
        try:
            module = importlib.import_module(f"sidecar.cli.{_MODULES.get(cmd_name, cmd_name)}")
        finally:
            gc.freeze()  # modules stay: later looks need not go through them
            gc.enable()
        command = getattr(module, cmd_name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module.__name__}.{cmd_name} is not a click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of that name; where there is none, name the one that is nearly it."""
        if args[0] not in _COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            hint = f"did you mean {near[0]}?" if near else "sidecar --help lists them"
            ctx.fail(f"there is no command {args[0]}; {hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Call a command; what it complains of may quote a log, or name a file of any bytes."""
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()
        except BrokenPipeError:  # whoever reads has seen enough: `sidecar replay LOG | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)
        except click.Abort:
            if sys.stdin.isatty():
                raise
            sentence = "a question stays open, for stdin is no terminal; --help has its option"
            raise click.UsageError(sentence) from None
        except click.ClickException as wrong:
            lines = map(printable, wrong.message.split("\n"))
            wrong.message = "\n".join(lines)  # type: ignore[misc]  # final for its subclasses
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sidecar")
def main() -> None:
    """Tail WEBHOOK_METRIC log lines, export Prometheus series, alert Slack, mail and others."""
