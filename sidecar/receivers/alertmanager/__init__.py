"""A cluster of Alertmanagers, by its API v2.

`config` has the keys, `message` makes the alerts, `send` posts them to every address.
"""

from contextlib import AbstractAsyncContextManager

from sidecar.receivers.alertmanager.config import AlertmanagerConfig
from sidecar.receivers.alertmanager.message import Alerts, render
from sidecar.receivers.base import Kind, Send


def _connect() -> AbstractAsyncContextManager[Send[AlertmanagerConfig, Alerts]]:
    from sidecar.receivers.alertmanager.send import (  # noqa: PLC0415 - httpx, only to send
        connected,
    )

    return connected()


ALERTMANAGER = Kind(
    name="alertmanager",
    section="alertmanager_configs",
    doc="Clusters of Alertmanagers, which reach whom no other kind does.",
    config=AlertmanagerConfig,
    at_once=4,
    render=render,
    connect=_connect,
)
