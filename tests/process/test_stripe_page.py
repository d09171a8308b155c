"""docs/stripe.md: the commands from an empty machine to the first alert, as they stand there."""

import os
import subprocess
import sys
from pathlib import Path

from support.daemon import RULES
from support.stripe import free_port

PAGE = RULES.parent / "docs" / "stripe.md"


def test_the_pages_commands_lead_to_the_first_alert(tmp_path: Path) -> None:
    commands = PAGE.read_text().partition("```sh\n")[2].partition("```")[0]
    for port in ("9787", "9788"):
        commands = commands.replace(port, str(free_port()))
    (tmp_path / "rules").symlink_to(RULES)
    own = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": own, "no_proxy": "*"}
    done = subprocess.run(
        ["sh", "-eu", "-c", commands], check=False, cwd=tmp_path, env=environment,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "\nok\n" in done.stdout
    assert "PayoutFailed" in done.stdout
    assert "po_1" in done.stdout
