"""The keys of `alertmanager_configs`."""

from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar, Self
from urllib.parse import urlsplit

from sidecar.notify.model import Rate, ReceiverConfig
from sidecar.receivers.proxy import HttpConfig
from sidecar.syntax.table import Reading, key, table
from sidecar.syntax.tree import ListNode
from sidecar.syntax.values import Flag, Positive, SecretText, Text, Url

# As Prometheus does with what it sends (rules/manager.go, validUntil).
VALID_FOR = 4.0


@table
class AlertmanagerConfig(ReceiverConfig):
    """The members of one cluster; each is sent all, since they share what was told, not alerts."""

    asks: ClassVar[tuple[tuple[str, ...], ...]] = (("urls",),)

    urls: tuple[Url, ...] = key(
        "The cluster's members, such as `http://alertmanager-1:9093`.", schema={"minItems": 1}
    )
    name: Text = key(
        "What the cluster is called in messages, logs and metrics; the first one's host if not "
        "written.",
        default="",
    )
    credentials: SecretText = key("Sent as a bearer token.", default=None)
    keep_alive: Positive = key(
        "How often what fires is sent again; it ends there when that stays out four times.",
        default=60.0,
    )
    http_config: HttpConfig = key(
        "The proxy to go through.", global_="http_config", default=HttpConfig()
    )
    send_resolved: Flag = key("Also tell when alerts end.", default=True)
    rate: Rate = key(
        "Messages the cluster takes; the rest waits.", default=Rate(per_second=50.0, burst=200)
    )

    def destinations(self) -> tuple[str, ...]:
        return (self.name,)

    def again_after(self) -> float:
        return self.keep_alive

    @classmethod
    def check_together(cls, configs: Iterable[Self], reading: Reading) -> None:
        clusters: dict[str, tuple[str, ...]] = {}
        for config in configs:
            if clusters.setdefault(config.name, config.urls) != config.urls:
                message = f"two clusters are called `{config.name}`"
                reading.error(config, "name", message, "give each a `name` of its own")

    def check(self, reading: Reading) -> "AlertmanagerConfig":
        node = reading.node(self).values.get("urls")
        if isinstance(node, ListNode) and not node.items:
            hint = "name at least one: [http://alertmanager:9093]"
            reading.error(self, "urls", "`urls` is empty", hint)
        hosts = [urlsplit(url).hostname or "" for url in self.urls]
        return replace(self, name=self.name or (hosts or ["alertmanager"])[0])
