"""The keys of `pager_configs`."""

from sidecar.notify.model import Rate, ReceiverConfig
from sidecar.render.check import Template
from sidecar.syntax.table import Reading, key, table
from sidecar.syntax.values import Flag, Named, SecretText, Url


@table
class PagerConfig(ReceiverConfig):
    """A service that pages people, by its routing key."""

    service: Named = key("What the service is called.")
    routing_key: SecretText = key("The service's key.", default=None)
    url: Url = key(
        "The pager's API.", global_="pager_url", needed=True, default="http://pager.invalid"
    )
    send_resolved: Flag = key("Also tell when alerts end.", default=True)
    summary: Template = key("Jinja2 source.", default=None)
    rate: Rate = key("What the pager takes; the rest waits.", default=Rate())

    def destinations(self) -> tuple[str, ...]:
        return (self.service,)

    def check(self, reading: Reading) -> "PagerConfig":
        if self.routing_key is None:
            reading.error(self, "", "`routing_key` is missing")
        return self
