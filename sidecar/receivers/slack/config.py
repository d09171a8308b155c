"""The keys of `slack_configs`."""

from collections.abc import Iterable
from typing import Annotated, ClassVar, Self
from urllib.parse import urlsplit

from sidecar.notify.model import Rate, ReceiverConfig
from sidecar.receivers.proxy import HttpConfig
from sidecar.render.check import Template
from sidecar.syntax.table import NO_SECRET, Reading, Schema, Table, Value, key, table
from sidecar.syntax.values import Flag, SecretText, SecretUrl, Text, Url, string_or_variable

_POST = "chat.postMessage"
POST_URL = f"https://slack.com/api/{_POST}"
_BOTH = "both an incoming webhook and a bot token are set"
_TEMPLATE = "Jinja2 source."
_ITS_OWN = "the webhook's own channel"


def _channel(text: str) -> str:
    if not text or any(letter.isspace() for letter in text):
        raise ValueError(f"{text!r} is not a channel; write '#name' or the channel's ID")
    return text


def _listed(channels: Iterable[str]) -> str:
    *first, last = (f"`{name}`" if name else _ITS_OWN for name in channels)
    return f"{', '.join(first)} and {last}"


Channel = Annotated[str, Value(_channel, "a channel", string_or_variable(r"^\S+$"))]


@table
class SlackConfig(ReceiverConfig):
    """Slack by incoming webhook (`api_url`) or by bot token (`app_token`, `chat.postMessage`).

    `title` and `text` are templates; None takes the shipped ones.
    """

    one_of: ClassVar[tuple[str, ...]] = ("api_url", "app_token")
    asks: ClassVar[tuple[tuple[str, ...], ...]] = (one_of,)
    schema: ClassVar[Schema] = {"allOf": [{"not": {"required": ["api_url", "app_token"]}}]}

    channel: Channel = key(
        "`#name` or ID. An incoming webhook needs none: it posts where it was made for.",
        default="",
    )
    api_url: SecretUrl = key(
        "The URL of an incoming webhook.", global_="slack_api_url", default=None
    )
    app_token: SecretText = key(
        "A bot token with the scope `chat:write`.", global_="slack_app_token", default=None
    )
    app_url: Url = key(
        "Slack's `chat.postMessage`, or a stand-in.", global_="slack_app_url", default=POST_URL
    )
    username: Template = key(
        "Jinja2 source: who speaks, where a legacy webhook or `chat:write.customize` lets one say.",
        default=None,
    )
    icon_emoji: Template = key(
        "Jinja2 source: an emoji beside the name, such as `:rotating_light:`; allowed as that is.",
        default=None,
    )
    http_config: HttpConfig = key(
        "The proxy to go through.", global_="http_config", default=HttpConfig()
    )
    send_resolved: Flag = key("Also tell when alerts end.", default=True)
    title: Template = key(_TEMPLATE, default=None)
    text: Template = key(_TEMPLATE, default=None)
    ack_reaction: Text = key(
        "The emoji on a message by which somebody acknowledges its alerts; with a bot token and "
        "the scope `reactions:read`. Empty: none.",
        default="eyes",
    )
    thread: Flag = key(
        "With a bot token: keep a message up to date, and tell what follows in its thread.",
        default=True,
    )
    rate: Rate = key("What Slack takes; the rest waits.", default=Rate())

    @property
    def folds(self) -> bool:
        return True

    @property
    def threads(self) -> bool:
        """A webhook gives no name for its messages; neither may a stand-in for the API."""
        return self.thread and self.app_token is not None and self.app_url.endswith(_POST)

    @property
    def acks(self) -> bool:
        return self.threads and bool(self.ack_reaction)

    def api(self, method: str) -> str:
        """Return the URL of another method of the API, such as `chat.update`."""
        return self.app_url.removesuffix(_POST) + method

    def destinations(self) -> tuple[str, ...]:
        return (self.channel or _ITS_OWN,)

    def account(self) -> tuple[str, str]:
        if self.api_url is not None:
            url = self.api_url.reveal()
            return (urlsplit(url).netloc, url)
        token = self.app_token.reveal() if self.app_token else ""
        return (urlsplit(self.app_url).netloc, token)

    @classmethod
    def check_global(cls, table: Table, reading: Reading) -> None:
        if {"slack_api_url", "slack_app_token"} <= reading.globals.keys():
            hint = "keep `slack_api_url` or `slack_app_token`"
            reading.error_at_key(table, "slack_app_token", _BOTH, hint)
            del reading.globals["slack_app_token"]

    @classmethod
    def check_together(cls, configs: Iterable[Self], reading: Reading) -> None:
        """Warn of channels that share an incoming webhook: it posts to its own channel only."""
        by_url: dict[str, dict[str, Self]] = {}
        for config in configs:
            if config.api_url not in {None, NO_SECRET}:  # of what is not set, nobody knows
                by_url.setdefault(config.api_url.reveal(), {}).setdefault(config.channel, config)
        for named in [named for named in by_url.values() if "" in named][1:]:
            message = "two incoming webhooks have no `channel`, by which they are told apart"
            reading.error(named[""], "", message, "write where each of them posts")
        for named in by_url.values():
            if len(named) > 1:
                message = f"{_listed(named)} share one incoming webhook, "
                hint = "use one URL per channel, or a bot token"
                place = reading.place([*named.values()][1])
                reading.faults.warning(place, message + "which posts to its own channel only", hint)

    def check(self, reading: Reading) -> "SlackConfig":
        ways = [k for k in reading.node(self).values if k.startswith(("api_url", "app_token"))]
        if self.api_url and self.app_token:
            place = next((k for k in ways if k.startswith("app_token")), "")
            reading.error_at_key(self, place, _BOTH, "keep `api_url` or `app_token`")
        if not self.api_url and not self.app_token:
            message = "neither an incoming webhook nor a bot token is set"
            hint = (
                "set `api_url` or `app_token` here, "
                "or `slack_api_url` or `slack_app_token` in `global`"
            )
            reading.error(self, "", message, hint)
        if self.app_token and "channel" not in reading.node(self).values:
            hint = "a bot token has to be told where to post"
            reading.error(self, "", "`channel` is missing", hint)
        return self
