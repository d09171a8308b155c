"""`sidecar run` with a shifted clock: `python daemon_at.py CONFIG SHIFT_SECONDS [--shadow]`."""

import os
import sys

from sidecar.cli.run import run_daemon
from sidecar.clock import SystemClock
from sidecar.config.load import load_config
from sidecar.daemon.telemetry import configure_log
from sidecar.redact import Redactor

config = load_config(sys.argv[1], os.environ)
configure_log(redact=Redactor(config.redact).text)
sys.exit(run_daemon(config, SystemClock(float(sys.argv[2])), shadow="--shadow" in sys.argv))
