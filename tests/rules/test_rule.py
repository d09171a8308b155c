"""What a rule is where several hosts have one judge."""

from pathlib import Path

from sidecar.config.load import load_config
from sidecar.parse.event import HOST, OWN_PROVIDER, Event
from sidecar.rules.rule import Rule
from support.daemon import RULES
from support.rules import Bench, kinds
from support.setup import configure

DATABASE = "state: {postgresql: {url: 'host=db user=sidecar'}, host: a}"


def shipped(folder: Path, *, in_fleet: bool) -> dict[str, Rule]:
    path = configure(folder, rules=RULES / "sidecar.rules.yaml")
    if in_fleet:
        path.write_text(path.read_text().replace("state: {path: state.db}", DATABASE))
    return {rule.name: rule for rule in load_config(str(path), {}).rules}


def told(host: str, status: str, at: float) -> Event:
    fields = {HOST: host, "message": "wrong"}
    return Event(OWN_PROVIDER, "sidecar.reload_failed", status, at, fields)


def test_what_one_host_says_of_itself_ends_no_alert_about_another(tmp_path: Path) -> None:
    bench = Bench(shipped(tmp_path, in_fleet=True)["SidecarReloadFailed"])
    assert kinds(bench.see(told("a", "problem", 1.0), told("b", "problem", 2.0))) == ["fired"] * 2
    (ended,) = bench.see(told("b", "ok", 3.0))
    assert ended.alert.labels["sidecar_host"] == "b"
    assert [alert.labels["sidecar_host"] for alert in bench.engine.alerts()] == ["a"]


def test_what_only_the_judge_sees_is_of_all_hosts(tmp_path: Path) -> None:
    alone, fleet = shipped(tmp_path, in_fleet=False), shipped(tmp_path, in_fleet=True)
    same = {name for name, rule in fleet.items() if rule.by == alone[name].by}
    assert same == {
        "SidecarHostSilent",
        "SidecarOutboxStuck",
        "SidecarDrillFailed",
        "SidecarStripeSilent",
        "SidecarTemplateFailed",
        "SidecarDestinationDead",
    }
    assert not any(HOST in rule.by for rule in alone.values())
