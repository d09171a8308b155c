"""How it is proved, again and again, that alerts reach people: the drill and the heartbeat."""

from collections.abc import Iterable

from sidecar.rules.rule import Rule
from sidecar.syntax.faults import did_you_mean
from sidecar.syntax.table import Reading, Table, key, table
from sidecar.syntax.values import Named, Positive, SecretUrl


@table
class DrillConfig(Table):
    """An alert that is made to fire every so often, and told as a drill."""

    alert: Named = key("The rule whose alert is made to fire, and ended at once.")
    every: Positive = key("How often.", default=7 * 86_400.0)

    def check_rules(self, rules: Iterable[Rule], reading: Reading) -> None:
        """Report an alert that none of the rules has, if these are known."""
        known = {rule.name for rule in rules}
        if known and self.alert not in known:
            hint = did_you_mean(self.alert, known, "name one of `sidecar rules`")
            reading.error(self, "alert", f"no rule is called `{self.alert}`", hint)


@table
class HeartbeatConfig(Table):
    """A service that notices when it is not told that all is well, such as Healthchecks."""

    url: SecretUrl = key(
        "Where to POST while all is well; `/fail` behind it is told of trouble.", default=None
    )
    interval: Positive = key("How often.", default=60.0)

    def check(self, reading: Reading) -> "HeartbeatConfig":
        if self.url is None and not any(k.startswith("url") for k in reading.node(self).values):
            reading.error(self, "", "`url` is missing", "write `url` or `url_file`")
        return self
