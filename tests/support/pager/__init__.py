"""A pager, as a kind of receiver for tests: a folder like this and an entry in `KINDS` is all."""

from contextlib import AbstractAsyncContextManager

from sidecar.receivers.base import Kind, Send
from support.pager.config import PagerConfig
from support.pager.message import Event, render


def _connect() -> AbstractAsyncContextManager[Send[PagerConfig, Event]]:
    from support.pager.send import connected  # noqa: PLC0415 - httpx, only to send

    return connected()


PAGER = Kind(
    name="pager",
    section="pager_configs",
    doc="Services of a pager.",
    config=PagerConfig,
    at_once=4,
    render=render,
    connect=_connect,
)
