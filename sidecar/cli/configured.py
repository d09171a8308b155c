"""What commands share that work by a configuration: its option, reading it, names in it."""

import sys
from collections.abc import Callable, Iterable
from typing import Any

import click

from sidecar.cli import CONFIG_FILES, config_there
from sidecar.cli.client import CANNOT, PROBLEM, end
from sidecar.cli.output import say_faults
from sidecar.config.load import load_config
from sidecar.config.settings import Config
from sidecar.syntax.faults import ConfigError, did_you_mean
from sidecar.syntax.files import environment

LOG_FILE = click.Path(exists=True, readable=True, dir_okay=False)


def config_option(says: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option `-c`, whose value is the argument `config`."""
    return click.option(
        "-c",
        "--config",
        type=LOG_FILE,
        default=config_there,
        show_default=" or ".join(CONFIG_FILES),
        help=says,
    )


def loaded(path: str) -> Config:
    """Return the configuration; one that is wrong ends the command with all its faults."""
    try:
        return load_config(path, environment())
    except ConfigError as wrong:
        say_faults(wrong.faults, err=True)
        sys.exit(PROBLEM)


def named(kind: str, name: str, known: Iterable[str]) -> str:
    """Return `name` if it is a known one; another ends the command."""
    names = sorted(known)
    if name not in names:
        listed = f"there are {', '.join(names)}" if names else "there is none"
        end(f"no {kind} is called {name}; {did_you_mean(name, names, listed)}", CANNOT)
    return name
