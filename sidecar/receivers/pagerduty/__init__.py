"""PagerDuty, by its Events API v2.

`config` has the keys, `message` makes an event of each alert, `send` posts them one by one.
"""

from contextlib import AbstractAsyncContextManager

from sidecar.receivers.base import Kind, Send
from sidecar.receivers.pagerduty.config import PagerdutyConfig
from sidecar.receivers.pagerduty.message import Events, render


def _connect() -> AbstractAsyncContextManager[Send[PagerdutyConfig, Events]]:
    from sidecar.receivers.pagerduty.send import connected  # noqa: PLC0415 - httpx, only to send

    return connected()


PAGERDUTY = Kind(
    name="pagerduty",
    section="pagerduty_configs",
    doc="Services of PagerDuty.",
    config=PagerdutyConfig,
    at_once=4,
    render=render,
    connect=_connect,
)
