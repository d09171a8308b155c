"""What is copied and pasted to run it somewhere: held to the schemas of those who read it."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema.exceptions import best_match
from jsonschema.validators import validator_for

from sidecar.cli.run import LONGEST_STOP
from sidecar.config.load import check_config

ROOT = Path(__file__).parents[2]
SCHEMAS = Path(__file__).parent / "schemas"
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
FLEET = yaml.safe_load((ROOT / "docs" / "deploy" / "compose.fleet.yaml").read_text())
KUBERNETES = list(
    yaml.safe_load_all((ROOT / "docs" / "deploy" / "kubernetes" / "sidecar.yaml").read_text())
)
UNIT = ROOT / "docs" / "deploy" / "webhook-alert-sidecar.service"


def faults(schema: str, document: Any, definition: str = "") -> list[str]:
    found: dict[str, Any] = json.loads((SCHEMAS / f"{schema}.json").read_text())
    if definition:
        found |= {"oneOf": [{"$ref": f"#/definitions/{definition}"}]}
    wrong = best_match(validator_for(found)(found).iter_errors(document))
    return [] if wrong is None else [f"{wrong.json_path}: {wrong.message}"]


def definition_of(document: dict[str, Any]) -> str:
    groups = {"v1": "core.v1", "apps/v1": "apps.v1"}
    return f"io.k8s.api.{groups[document['apiVersion']]}.{document['kind']}"


def test_compose_is_what_its_specification_allows() -> None:
    assert faults("compose", COMPOSE) == []
    assert faults("compose", FLEET) == []


def test_the_fleet_s_configuration_is_right(tmp_path: Path) -> None:
    said = FLEET["configs"]["fleet"]["content"]
    for name, text in (("sidecar_db", "postgresql://x@y/z"), ("slack_webhook_url", "https://x.y")):
        (tmp_path / name).write_text(text)
        said = said.replace(f"/run/secrets/{name}", str(tmp_path / name))
    path = tmp_path / "sidecar.yaml"
    path.write_text(said.replace("rules/", f"{ROOT}/rules/"))
    assert [str(fault) for fault in check_config(str(path), {}).errors] == []
    hosts = [one["hostname"] for one in FLEET["services"].values() if "hostname" in one]
    assert hosts == ["a", "b", "c"]


@pytest.mark.parametrize("document", KUBERNETES, ids=lambda one: one["metadata"]["name"])
def test_kubernetes_would_take_each_document(document: dict[str, Any]) -> None:
    assert faults("kubernetes", document, definition_of(document)) == []


def test_a_wrong_key_would_be_found() -> None:
    compose = {**COMPOSE, "services": {"a": {"imgae": "x"}}}
    deployment = {**KUBERNETES[-1], "spec": {**KUBERNETES[-1]["spec"], "replica": 1}}
    assert faults("compose", compose)
    assert faults("kubernetes", deployment, definition_of(deployment))


@pytest.mark.parametrize("name", ["ci", "nightly", "release"])
def test_the_workflows_are_what_their_runner_allows(name: str) -> None:
    text = (ROOT / ".github" / "workflows" / f"{name}.yml").read_text()
    workflow = {("on" if key is True else key): v for key, v in yaml.safe_load(text).items()}
    assert faults("workflow", workflow) == []


def volume_of(config: str) -> dict[str, Any]:
    [found] = [one for one in KUBERNETES if one["metadata"]["name"] == config]
    data: dict[str, Any] = found["data"]
    return data


def test_the_configuration_in_kubernetes_is_right(tmp_path: Path) -> None:
    """The projected volume puts both maps into one folder."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "sidecar.yaml").write_text(volume_of("sidecar-config")["sidecar.yaml"])
    rules = volume_of("sidecar-rules")["first.rules.yaml"]
    (tmp_path / "rules" / "first.rules.yaml").write_text(rules)
    checked = check_config(str(tmp_path / "sidecar.yaml"), {}, placeholders=True)
    assert (checked.faults, len(checked.rules)) == ((), 1)


def test_the_pod_s_parts_belong_together() -> None:
    pod = KUBERNETES[-1]["spec"]["template"]["spec"]
    volumes = {volume["name"] for volume in pod["volumes"]}
    containers = [*pod["initContainers"], *pod["containers"]]
    assert {mount["name"] for one in containers for mount in one["volumeMounts"]} == volumes
    assert not any("subPath" in mount for one in containers for mount in one["volumeMounts"])
    monitor = yaml.safe_load(
        (ROOT / "docs" / "deploy" / "kubernetes" / "podmonitor.yaml").read_text()
    )
    labels = KUBERNETES[-1]["spec"]["template"]["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"] == labels
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] in {port["name"] for port in containers[0]["ports"]}


def test_what_compose_mounts_is_there() -> None:
    mounts = [
        mount.split(":")[0]
        for service in COMPOSE["services"].values()
        for mount in service.get("volumes", ())
    ]
    there = {mount: (ROOT / mount).is_dir() for mount in mounts if mount.startswith(".")}
    assert len(there) == 4
    assert all(there.values()), there
    assert set(mounts) - set(there) == set(COMPOSE["volumes"])


def test_all_that_starts_the_sidecar_waits_until_it_has_stopped() -> None:
    """Docker alone kills after ten seconds, also where the stop is looked at late."""
    pods = [one["spec"]["template"]["spec"] for one in KUBERNETES if one["kind"] == "Deployment"]
    graces = [
        COMPOSE["services"]["sidecar"]["stop_grace_period"].removesuffix("s"),
        FLEET["services"]["a-sidecar"]["stop_grace_period"].removesuffix("s"),
        *(pod["terminationGracePeriodSeconds"] for pod in pods),
        *re.findall(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.MULTILINE),
    ]
    assert len(graces) >= 3
    assert all(float(one) > LONGEST_STOP + 2 for one in graces)


def test_compose_s_prometheus_would_start() -> None:
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("install Debian's package prometheus")
    found = subprocess.run(
        [promtool, "check", "config", "--syntax-only", "docs/deploy/prometheus/prometheus.yml"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr


def test_compose_s_pretend_host_writes_an_event(tmp_path: Path) -> None:
    """Its script, as compose hands it to the shell, up to its first pause."""
    script = COMPOSE["services"]["webhooks"]["command"][-1].replace("$$", "$")
    script = script.replace("/var/log/webhook", str(tmp_path)).replace("sleep 10", "exit 0")
    subprocess.run(["sh", "-c", script.replace("& wait $!", "")], check=True, timeout=20)
    lines = (tmp_path / "app.log").read_text().splitlines()
    assert len(lines) == 1
    assert "'status': 'payment_failure'" in lines[0]


def test_systemd_would_take_the_unit(tmp_path: Path) -> None:
    if (analyze := shutil.which("systemd-analyze")) is None:
        pytest.skip("install systemd to verify the unit")
    unit = tmp_path / UNIT.name
    unit.write_text(
        UNIT.read_text().replace("/opt/sidecar/bin/sidecar", shutil.which("true") or "")
    )
    found = subprocess.run(
        [analyze, "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stderr) == (0, "")


def test_a_dockerfile_says_where_the_image_comes_from() -> None:
    text = (ROOT / "Dockerfile").read_text()
    for label in ("source", "version", "revision", "created", "licenses", "base.name"):
        assert f"org.opencontainers.image.{label}=" in text
