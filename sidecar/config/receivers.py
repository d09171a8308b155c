"""`receivers:`, each a name with the channels and mailboxes behind it."""

from sidecar.config.defaults import Defaults
from sidecar.config.faults import Faults, Names, Place
from sidecar.config.mail import read_email
from sidecar.config.reader import Reader
from sidecar.config.slack import read_slack
from sidecar.notify.model import Receiver, SlackConfig

_DEFAULTS = Receiver(name="")


def read_receivers(
    root: Reader, defaults: Defaults
) -> tuple[dict[str, Receiver], dict[str, Place]]:
    """Return the receivers by name, and where each name stands."""
    receivers: dict[str, Receiver] = {}
    names = Names("receiver")
    slack: list[tuple[SlackConfig, Place]] = []
    for reader in root.tables("receivers"):
        receiver, channels = _receiver(reader, defaults)
        slack += channels
        if receiver.name and names.claim(receiver.name, reader.place_of("name"), root.faults):
            receivers[receiver.name] = receiver
    _warn_shared_urls(slack, root.faults)
    return receivers, names.places


def _receiver(
    reader: Reader, defaults: Defaults
) -> tuple[Receiver, list[tuple[SlackConfig, Place]]]:
    reader.require("name")
    slack = [(read_slack(one, defaults.slack), one.place) for one in reader.tables("slack_configs")]
    email = [read_email(one, defaults.mail) for one in reader.tables("email_configs")]
    receiver = Receiver(
        name=reader.text("name", ""),
        slack_configs=tuple(config for config, _ in slack),
        email_configs=tuple(email),
        max_age=reader.duration("max_age", _DEFAULTS.max_age, positive=True),
        quick_retries=reader.whole("quick_retries", _DEFAULTS.quick_retries),
    )
    if receiver.name == "" and reader.has("name"):
        reader.faults.error(reader.place_of("name"), "`name` is empty")
    reader.close()
    return receiver, slack


def _warn_shared_urls(configs: list[tuple[SlackConfig, Place]], faults: Faults) -> None:
    """Warn of channels behind one webhook: Slack ignores the channel and posts to its own."""
    first: dict[str, str] = {}
    for config, place in configs:
        if config.api_url is None:
            continue
        channel = first.setdefault(config.api_url.reveal(), config.channel)
        if channel != config.channel:
            faults.warning(
                place,
                f"`{config.channel}` and `{channel}` share one incoming webhook, "
                "which posts to its own channel only",
                "use one URL per channel, or a bot token",
            )
