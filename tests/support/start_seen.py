"""`sidecar run` until it listens, seen from within: `python start_seen.py CONFIG` prints as JSON
what was imported by the first committed step and by the end, and how often garbage was looked for
until it listened.
"""

import asyncio
import gc
import json
import os
import sys
from typing import Any

from sidecar.cli.run import _freeze, _tune
from sidecar.clock import SystemClock
from sidecar.config.load import load_config
from sidecar.core import Step
from sidecar.daemon.app import Daemon

seen: dict[str, Any] = {}
looks: list[str] = []
stop = asyncio.Event()


def first_step(_step: Step) -> None:
    seen.setdefault("by_first_step", sorted(sys.modules))


def listening(port: int) -> None:
    seen["looks_for_garbage"] = len(looks)
    _freeze(port)
    stop.set()


_tune()
gc.callbacks.append(lambda phase, _info: looks.append(phase))
config = load_config(sys.argv[1], os.environ)
daemon = Daemon(config, clock=SystemClock(), on_step=first_step, on_listen=listening)
asyncio.run(daemon.run(stop))
seen["by_the_end"] = sorted(sys.modules)
seen["garbage_is_looked_for"] = gc.isenabled()
sys.stdout.write(json.dumps(seen))
