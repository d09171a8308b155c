"""`sidecar backup`: a copy of the state file while the daemon runs."""

import click

from sidecar.cli.client import CANNOT, PROBLEM, end
from sidecar.cli.configured import config_option
from sidecar.cli.output import say, say_faults
from sidecar.config.load import check_config
from sidecar.config.settings import Config
from sidecar.store.schema import StoreError, StoreUnavailable
from sidecar.store.sqlite import backup as copy_to
from sidecar.syntax.files import environment


@click.command()
@config_option("Whose state file to copy.")
@click.argument("file", type=click.Path(dir_okay=False), metavar="FILE")
def backup(config: str, file: str) -> None:
    """Copy the state to the state file FILE: positions, counters, alerts, who was told, what waits.

    The daemon may run meanwhile. To go back, stop it, put FILE in the place of the state file
    (state.path; remove its -wal and -shm), and start it. What is in PostgreSQL is written into
    such a file too. Exits 1 if the configuration is wrong, 2
    if it cannot be copied.
    """
    checked = check_config(config, environment(), placeholders=True)
    if checked.config is None:
        say_faults(checked.errors, err=True)
        raise click.exceptions.Exit(PROBLEM)
    try:
        size, source = _copied(checked.config, file)
    except (StoreError, StoreUnavailable) as wrong:
        end(str(wrong), CANNOT)
    say(f"{file}: {size:,} bytes of {source}")


def _copied(config: Config, file: str) -> tuple[int, str]:
    """Return how many bytes were written, and of what."""
    if config.state_url is None:
        return copy_to(config.state_path, file), config.state_path
    from sidecar.store import postgresql  # noqa: PLC0415 - an extra, and takes long to import

    return postgresql.backup(config.state_url, file), "the database"
