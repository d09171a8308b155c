"""The `global:` section: what receivers fall back to."""

import msgspec

from sidecar.config.reader import Reader
from sidecar.config.values import parse_mailbox, parse_smarthost, parse_url, read_secret_pair
from sidecar.notify.model import SLACK_POST_URL
from sidecar.secret import Secret


class SlackDefaults(msgspec.Struct, frozen=True, kw_only=True):
    api_url: Secret | None = None
    app_token: Secret | None = None
    app_url: str = SLACK_POST_URL


class MailDefaults(msgspec.Struct, frozen=True, kw_only=True):
    from_: str | None = None
    smarthost: tuple[str, int] | None = None
    hello: str = "localhost"
    auth_username: str = ""
    auth_password: Secret | None = None
    require_tls: bool = True


class Defaults(msgspec.Struct, frozen=True, kw_only=True):
    slack: SlackDefaults = SlackDefaults()
    mail: MailDefaults = MailDefaults()


_STAND_IN = MailDefaults(from_="stand-in@example.invalid", smarthost=("stand-in.invalid", 25))


def read_defaults(reader: Reader | None) -> Defaults:
    """Read `global:`, in Alertmanager's names; absent, its defaults."""
    if reader is None:
        return Defaults()
    defaults = Defaults(slack=_slack(reader), mail=_mail(reader))
    reader.close()
    return defaults


def _slack(reader: Reader) -> SlackDefaults:
    api_url = read_secret_pair(reader, "slack_api_url", url=True)
    app_token = read_secret_pair(reader, "slack_app_token")
    if api_url is not None and app_token is not None:
        reader.faults.error(
            reader.key_place("slack_app_token"),
            "both an incoming webhook and a bot token are set",
            "keep `slack_api_url` or `slack_app_token`",
        )
    app_url = reader.parsed("slack_app_url", "an http(s) URL", parse_url, SLACK_POST_URL)
    return SlackDefaults(api_url=api_url, app_token=app_token, app_url=app_url)


def _mail(reader: Reader) -> MailDefaults:
    # A faulty value is reported here, and not once more by every receiver that would take it.
    from_ = _STAND_IN.from_ if reader.has("smtp_from") else None
    smarthost = _STAND_IN.smarthost if reader.has("smtp_smarthost") else None
    return MailDefaults(
        from_=reader.parsed("smtp_from", "a mail address", parse_mailbox, from_),
        smarthost=reader.parsed("smtp_smarthost", "host:port", parse_smarthost, smarthost),
        hello=reader.text("smtp_hello", "localhost"),
        auth_username=reader.text("smtp_auth_username", ""),
        auth_password=read_secret_pair(reader, "smtp_auth_password"),
        require_tls=reader.flag("smtp_require_tls", default=True),
    )
