"""`sidecar backup`: a copy of the state file while the daemon runs."""

import click

from sidecar.cli.client import CANNOT, PROBLEM, end
from sidecar.cli.configured import config_option
from sidecar.cli.output import say, say_faults
from sidecar.config.load import check_config
from sidecar.store.schema import StoreError
from sidecar.store.sqlite import backup as copy_to
from sidecar.syntax.files import environment


@click.command()
@config_option("Whose state file to copy.")
@click.argument("file", type=click.Path(dir_okay=False), metavar="FILE")
def backup(config: str, file: str) -> None:
    """Copy the state file to FILE: positions, counters, alerts, who was told, what waits.

    The daemon may run meanwhile. To go back, stop it, put FILE in the place of the state file
    (state.path; remove its -wal and -shm), and start it. Exits 1 if the configuration is wrong, 2
    if it cannot be copied.
    """
    checked = check_config(config, environment(), placeholders=True)
    if checked.config is None:
        say_faults(checked.errors, err=True)
        raise click.exceptions.Exit(PROBLEM)
    try:
        size = copy_to(checked.config.state_path, file)
    except StoreError as wrong:
        end(str(wrong), CANNOT)
    say(f"{file}: {size:,} bytes of {checked.config.state_path}")
