"""The keys of `pagerduty_configs`."""

from collections.abc import Iterable
from typing import ClassVar, Self

from sidecar.notify.model import Rate, ReceiverConfig
from sidecar.receivers.proxy import HttpConfig
from sidecar.syntax.table import Reading, key, table
from sidecar.syntax.values import Flag, Named, SecretText, Url

EVENTS_URL = "https://events.pagerduty.com/v2/enqueue"


@table
class PagerdutyConfig(ReceiverConfig):
    """A service of PagerDuty's, by the key of its Events API v2 integration."""

    asks: ClassVar[tuple[tuple[str, ...], ...]] = (("routing_key",),)

    service: Named = key("What the service is called, in messages, logs and metrics.")
    routing_key: SecretText = key(
        "The integration key of the service's Events API v2 integration.", default=None
    )
    url: Url = key("The Events API v2, or a stand-in.", global_="pagerduty_url", default=EVENTS_URL)
    http_config: HttpConfig = key(
        "The proxy to go through.", global_="http_config", default=HttpConfig()
    )
    send_resolved: Flag = key("Also tell when alerts end.", default=True)
    rate: Rate = key(
        "What PagerDuty takes; the rest waits.", default=Rate(per_second=1.0, burst=20)
    )

    def destinations(self) -> tuple[str, ...]:
        return (self.service,)

    @classmethod
    def check_together(cls, configs: Iterable[Self], reading: Reading) -> None:
        keys: dict[str, str] = {}
        for config in configs:
            key = config.routing_key.reveal() if config.routing_key else ""
            if keys.setdefault(config.service, key) != key:
                message = f"service `{config.service}` has two routing keys"
                reading.error(config, "service", message, "call each service by its own name")

    def check(self, reading: Reading) -> "PagerdutyConfig":
        if self.routing_key is None:
            reading.error(self, "", "`routing_key` is missing")
        return self
