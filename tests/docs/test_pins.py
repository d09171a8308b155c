"""What pyproject.toml promises to work with is what the tests run with."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
_PIN = re.compile(r"^([\w.-]+)==([^\s;]+)", re.MULTILINE)


def test_each_lower_bound_is_the_version_that_is_locked_and_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for wanted, lock in (
        (project["dependencies"], "requirements.txt"),
        (project["optional-dependencies"]["postgresql"], "requirements.txt"),
        (project["optional-dependencies"]["dev"], "requirements-dev.txt"),
    ):
        pins = dict(_PIN.findall((ROOT / ".ci" / lock).read_text()))
        bounds = dict(re.sub(r"\[.*?\]", "", text).lower().split(">=") for text in wanted)
        assert bounds == {name: pins[name] for name in bounds}


def test_compose_keeps_to_loopback_and_within_limits() -> None:
    text = (ROOT / "compose.yaml").read_text()
    for line in ('ports: ["127.0.0.1:9787:9787"]', "mem_limit:", "pids_limit:", "nofile:"):
        assert line in text
