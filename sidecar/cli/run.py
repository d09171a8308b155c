"""`sidecar run`, the daemon, and `sidecar backup`, a copy of its state while it runs."""

import asyncio
import ctypes
import gc
import logging
import os
import platform
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

import click
import structlog

from sidecar.cli import CONFIG_FILES, config_there
from sidecar.cli.client import CANNOT, end
from sidecar.cli.configured import config_option, loaded
from sidecar.cli.output import say
from sidecar.clock import Clock, SystemClock
from sidecar.config.load import check_config
from sidecar.config.settings import Config
from sidecar.daemon import app
from sidecar.daemon.lines import configure_log, is_debug
from sidecar.redact import Redactor
from sidecar.store.schema import StoreError, StoreMoved, StoreShared, StoreUnavailable
from sidecar.store.sqlite import backup as copy_to
from sidecar.web.fault import StartError

PROBLEMS, CANNOT_START = 1, 2
# What is not done by then hangs: a disk, another's lock. Docker kills ten seconds after SIGTERM.
LONGEST_STOP = 7.5
HANDLES = 8192  # for more than are ever held
# Half go to logs. The others have to do for the state file, what listens, imports, scrapes and
# messages; with 32 not all modules could be read.
FEWEST_HANDLES = 64
_ARENAS = -8  # M_ARENA_MAX, of glibc's malloc.h (mallopt(3))
_log = structlog.get_logger()


@click.command()
@click.option(
    "-c",
    "--config",
    "path",
    default=config_there,
    show_default=" or ".join(CONFIG_FILES),
    help="Configuration file.",
)
@click.option(
    "--shadow",
    is_flag=True,
    help="Decide and record everything, send nothing; best with a state.path of its own.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info"]),
    default="info",
    show_default=True,
    help="With debug: what is made of each line, twenty a second, redacted.",
)
def run(path: str, *, shadow: bool, log_level: str) -> None:
    """Run the daemon until SIGTERM or Ctrl-C; then read on to the end and stop.

    The configuration is read anew when one of its files changes, on SIGHUP, and on POST /-/reload.
    """
    gc.disable()  # as _tune says
    checked = check_config(path, os.environ)
    if (config := checked.config) is None:
        for fault in checked.errors:
            say(str(fault), err=True)
        sys.exit(PROBLEMS if os.access(path, os.R_OK) else CANNOT_START)
    _log_by(config, logging.getLevelNamesMapping()[log_level.upper()])
    up = partial(_warn, list(map(str, checked.faults)))
    sys.exit(run_daemon(config, SystemClock(), shadow=shadow, up=up))


def _warn(doubts: Iterable[str]) -> None:
    """Warn, once the daemon is up, of what does not keep it from running."""
    for doubt in doubts:
        _log.warning("configuration_doubtful", fault=doubt)
    if mended := mended_in(sys.version_info[:3]):
        running, why = platform.python_version(), "CVE-2024-6923 and others"
        _log.warning("python_outdated", running=running, mended_in=mended, why=why)


# In these the email package could make headers of a text (CVE-2024-6923).
_MENDED = {(3, 11): (3, 11, 10), (3, 12): (3, 12, 5)}


def mended_in(version: tuple[int, ...]) -> str:
    """Return the first version of the same Python without the weaknesses of `version`, if any."""
    mended = _MENDED.get((version[0], version[1]), version)
    return ".".join(map(str, mended)) if version < mended else ""


def run_daemon(
    config: Config, clock: Clock, *, shadow: bool = False, up: Callable[[], None] = lambda: None
) -> int:
    """Run the daemon on its own event loop, call `up` once it listens; return the exit code.

    Where the state has moved on without it, or another host has come where it was alone, the
    process begins anew in its own place.
    """
    code = 0
    anew = False
    try:
        _tune()
        asyncio.run(_until_signal(config, clock, shadow=shadow, up=up))
    except* (StoreError, StoreUnavailable, StartError) as cannot:
        for sentence in cannot.exceptions:
            say(f"sidecar: {sentence}", err=True)
        code = CANNOT_START
    except* StoreShared as shared:
        _log.info("no_longer_alone", other=str(shared.exceptions[0]), starts="anew")
        anew = True
    except* StoreMoved as moved:
        _log.warning("state_moved", error=str(moved.exceptions[0]), starts="anew")
        anew = True
    if anew:
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - itself
    return code


async def _until_signal(
    config: Config, clock: Clock, *, shadow: bool, up: Callable[[], None]
) -> None:
    def listening(port: int) -> None:
        _freeze(port)
        up()

    def asked_to_stop() -> None:
        stop.set()
        if not asked.is_set():
            asked.set()
            cut = threading.Timer(LONGEST_STOP, _cut_off)
            cut.daemon = True
            cut.start()

    stop, asked = asyncio.Event(), asyncio.Event()
    daemon = app.Daemon(
        config, clock=clock, shadow=shadow, on_config=_replaced, on_listen=listening
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_stop)
    loop.add_signal_handler(signal.SIGHUP, daemon.ask_reload)
    try:
        await daemon.run(stop)
    except* StoreMoved:
        if not asked.is_set():  # else the next start takes up what is there
            raise


def _cut_off() -> None:
    """End the process as a kill would: what it has not written it does again at the next start."""
    _log.warning("stop_cut_off", after_seconds=LONGEST_STOP)
    os._exit(0)


def _tune() -> None:
    """Set the interpreter up for what the daemon does.

    A thread that waits for the interpreter lock gets it after `sys.getswitchinterval()`; a delivery
    or a scrape needs it a dozen times, each time from the thread that reads at full speed, so it is
    made short.

    Lines make objects by the thousand but no cycles, so cycles are looked for seldom. Stored keys
    make nothing else, so until the daemon is up they are not looked for at all.

    glibc gives up to eight threads for each processor a heap of their own, which keeps what a large
    message took for a moment; one heap serves them all. Other C libraries have no such knob.

    Many systems allow few open files unless one asks: logs, connections and messages need more.
    Raises StartError when there are too few to live by.
    """
    _ask_for_handles()
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(_ARENAS, 1)
    sys.setswitchinterval(0.0005)
    gc.set_threshold(50_000, 20, 100)
    gc.disable()


def _ask_for_handles() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = HANDLES if hard == resource.RLIM_INFINITY else min(HANDLES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):  # then it has to do with those
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
    if soft != resource.RLIM_INFINITY and soft < FEWEST_HANDLES:
        raise StartError(
            f"this process may open {soft} files, too few to read logs and to tell anybody;"
            f" allow {FEWEST_HANDLES} at least, better 256 (`ulimit -n 256`, systemd's LimitNOFILE)"
        )


def _freeze(_port: int) -> None:
    """Take what was restored out of the garbage collector's sight, once the daemon is up."""
    gc.freeze()
    gc.enable()


def _replaced(config: Config) -> None:
    """Follow a reload, and let go of all that it replaced: kept out of the way, it would stay."""
    _log_by(config)
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _log_by(config: Config, level: int | None = None) -> None:
    """Let our own log hide what `config` says is to be hidden; its level stays unless given."""
    kept = logging.DEBUG if is_debug() else logging.INFO
    configure_log(redact=Redactor(config.redact).text, level=kept if level is None else level)


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
    read = loaded(config, placeholders=True)
    try:
        size, source = _copied(read, file)
    except (StoreError, StoreUnavailable) as wrong:
        end(str(wrong), CANNOT)
    say(f"{file}: {size:,} bytes of {source}")


def _copied(config: Config, file: str) -> tuple[int, str]:
    """Return how many bytes were written, and of what."""
    if config.state_url is None:
        return copy_to(config.state_path, file), config.state_path
    from sidecar.store import postgresql  # noqa: PLC0415 - an extra, and takes long to import

    return postgresql.backup(config.state_url, config.host, file), "the database"
