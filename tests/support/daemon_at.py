"""`sidecar run` with a shifted clock: `python daemon_at.py CONFIG SHIFT_SECONDS [--shadow]`."""

import os
import sys

from sidecar.cli.run import run_daemon
from sidecar.clock import SystemClock
from sidecar.config.load import load_config
from sidecar.daemon.lines import configure_log
from sidecar.redact import Redactor


def main(path: str, shift: str, *options: str) -> int:
    config = load_config(path, os.environ)
    configure_log(redact=Redactor(config.redact).text)
    return run_daemon(config, SystemClock(float(shift)), shadow="--shadow" in options)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
