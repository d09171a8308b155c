"""Slack, by incoming webhook or bot token.

`config` has the keys, `message` makes the payload inside Slack's limits, `send` posts it and reads
the answer.
"""

from contextlib import AbstractAsyncContextManager

from sidecar.receivers.base import Kind, Outcome, Send
from sidecar.receivers.slack.config import SlackConfig
from sidecar.receivers.slack.message import Payload, render


async def _acked(config: SlackConfig, message: str) -> str | Outcome:
    from sidecar.receivers.slack.send import acked_by  # noqa: PLC0415 - httpx, only to ask

    return await acked_by(config, message)


def _connect() -> AbstractAsyncContextManager[Send[SlackConfig, Payload]]:
    from sidecar.receivers.http import sending  # noqa: PLC0415 - httpx, only to send
    from sidecar.receivers.slack.send import send  # noqa: PLC0415 - the same

    return sending(send)


SLACK = Kind(
    name="slack",
    section="slack_configs",
    doc="Slack channels.",
    config=SlackConfig,
    at_once=16,
    render=render,
    connect=_connect,
    acked=_acked,
)
