"""Processes from a fork server, which has loaded the sidecar already.

Each costs a tenth of what a new interpreter would, which has all of it to import.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, Pipe
from typing import IO

from sidecar.receivers import KINDS

FORKS = get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "sidecar.cli.run", "sidecar.daemon.drill", "sidecar.daemon.heartbeat",
        "sidecar.daemon.reactions", "sidecar.provider.listener", "sidecar.web.server",
        "sidecar.store.postgresql",
        *(f"sidecar.receivers.{kind.name}.send" for kind in KINDS),
        "anyio._backends._asyncio", "anyio.streams.tls", "uvicorn.lifespan.off",
    ]
)  # fmt: skip


class Forked:
    """One that runs `main(*words)`, by the names of subprocess.Popen; its stderr is a pipe."""

    def __init__(self, main: Callable[..., int], words: Sequence[str]) -> None:
        ours, theirs = Pipe(duplex=False)
        arguments = (main, words, dict(os.environ), theirs)
        self._process = FORKS.Process(target=_run, args=arguments, daemon=True)
        self._process.start()
        theirs.close()
        self.pid = self._process.pid or 0
        self.stderr: IO[bytes] = os.fdopen(os.dup(ours.fileno()), "rb")
        ours.close()

    def send_signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired("the daemon", timeout or 0.0)
        return code


def _run(
    main: Callable[..., int], words: Sequence[str], environ: dict[str, str], stderr: Connection
) -> None:
    os.dup2(stderr.fileno(), 2)
    stderr.close()
    os.environ.clear()
    os.environ.update(environ)
    sys.exit(main(*words))
