"""`slack_configs` of a receiver."""

from sidecar.config.defaults import SlackDefaults
from sidecar.config.reader import Reader
from sidecar.config.templates import check_template
from sidecar.config.values import parse_url, read_secret_pair
from sidecar.notify.model import Rate, SlackConfig
from sidecar.secret import Secret

_WAYS = ("api_url", "api_url_file", "app_token", "app_token_file")


def read_slack(reader: Reader, defaults: SlackDefaults) -> SlackConfig:
    """Read one entry; what it does not say comes from `global:`."""
    reader.require("channel")
    api_url, app_token = _credentials(reader, defaults)
    config = SlackConfig(
        channel=reader.parsed("channel", "a channel", _parse_channel, ""),
        api_url=api_url,
        app_token=app_token,
        app_url=reader.parsed("app_url", "an http(s) URL", parse_url, defaults.app_url),
        send_resolved=reader.flag("send_resolved", default=True),
        title=read_template(reader, "title"),
        text=read_template(reader, "text"),
        rate=read_rate(reader, Rate()),
    )
    reader.close()
    return config


def _credentials(reader: Reader, defaults: SlackDefaults) -> tuple[Secret | None, Secret | None]:
    api_url = read_secret_pair(reader, "api_url", url=True)
    app_token = read_secret_pair(reader, "app_token")
    if api_url is not None and app_token is not None:
        place = reader.key_place(next(key for key in _WAYS[2:] if reader.has(key)))
        message = "both an incoming webhook and a bot token are set"
        reader.faults.error(place, message, "keep `api_url` or `app_token`")
    if api_url is None and app_token is None:
        api_url, app_token = defaults.api_url, defaults.app_token
    if api_url is None and app_token is None:
        hint = (
            "set `api_url` or `app_token` here, or `slack_api_url` or `slack_app_token` in `global`"
        )
        reader.faults.error(
            reader.place, "neither an incoming webhook nor a bot token is set", hint
        )
    return api_url, app_token


def read_template(reader: Reader, key: str) -> str | None:
    """Return the text of an inline template, or None for the shipped one."""
    scalar = reader.scalar(key)
    if scalar is None:
        return None
    check_template(scalar, reader.faults)
    return scalar.text


def read_rate(reader: Reader, default: Rate) -> Rate:
    """Read `rate: {per_second, burst}`."""
    inner = reader.table("rate")
    if inner is None:
        return default
    rate = Rate(
        inner.number("per_second", default.per_second), inner.whole("burst", default.burst, least=1)
    )
    inner.close()
    return rate


def _parse_channel(text: str) -> str:
    if not text or any(letter.isspace() for letter in text):
        raise ValueError(f"{text!r} is not a channel; write '#name' or the channel's ID")
    return text
