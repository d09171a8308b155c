"""The host's helper: what it writes, and that nothing of it ever reaches the host as a failure."""

import ast
import asyncio
import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from sidecar.host import webhook_metric
from sidecar.host.webhook_metric import KEY_FILE, MAX_LINE, configure, lost, metric, webhook
from sidecar.parse.parser import Parser
from support.parse import NOW, chunk_of, everything

HELPER = Path(webhook_metric.__file__)
EVENT = {"id": "evt_1", "type": "invoice.paid", "created": 1_793_952_000, "livemode": True}


@pytest.fixture(autouse=True)
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.delenv(KEY_FILE, raising=False)
    path = tmp_path / "metrics.log"
    configure(path)
    yield path
    configure()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_metric_is_an_event_to_the_sidecar(log: Path) -> None:
    metric("invoice.payment_failed", "payment_failure", org_id="org_1", attempt_count=3)
    (event,) = Parser().parse(chunk_of(log.read_bytes()), now=NOW, wanted=everything).events
    assert event.triple == ("stripe", "invoice.payment_failed", "payment_failure")
    assert (event.get("org_id"), event.get("attempt_count")) == ("org_1", 3)
    assert event.get("timestamp").endswith("+00:00")


def test_it_is_printed_whatever_the_hosts_logging_does() -> None:
    host = (
        "import logging.config; logging.disable(logging.CRITICAL)\n"
        "from webhook_metric import metric\n"
        "logging.config.dictConfig({'version': 1, 'disable_existing_loggers': True})\n"
        "metric('e', 's')\n"
    )
    host = f"import sys; sys.path.append({str(HELPER.parent)!r})\n{host}"
    done = subprocess.run([sys.executable, "-I", "-c", host], capture_output=True, check=True)
    assert json.loads(done.stderr)["status"] == "s"


def test_a_webhook_is_received_then_processed(log: Path) -> None:
    with webhook(EVENT, org_id="org_1") as fields:
        fields["seats"] = 3
        assert [line["status"] for line in lines(log)] == ["received"]
    received, processed = lines(log)
    assert received["event_type"] == processed["event_type"] == "invoice.paid"
    assert received["event_id"] == processed["event_id"] == "evt_1"
    assert (received["created"], received["livemode"]) == (1_793_952_000, True)
    assert (processed["status"], processed["seats"]) == ("processed", 3)
    assert processed["duration_seconds"] >= 0


def test_a_webhook_that_fails_says_why_and_fails_on(log: Path) -> None:
    for attempt in (1, 2):
        with pytest.raises(KeyError), webhook({**EVENT, "id": "evt_2"}):
            raise KeyError("customer")
        failed = lines(log)[-1]
        assert (failed["status"], failed["error_type"]) == ("processing_error", "KeyError")
        assert (failed["error"], failed["attempt"]) == ("'customer'", attempt)


def test_a_cancelled_handler_is_a_failure(log: Path) -> None:
    async def handler() -> None:
        with webhook({**EVENT, "id": "evt_3"}):
            await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.create_task(handler())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    assert [line["status"] for line in lines(log)] == ["received", "processing_error"]
    assert lines(log)[1]["error_type"] == "CancelledError"


def test_an_event_may_be_any_object_and_fields_may_have_any_name(log: Path) -> None:
    class Event:
        id, type = "evt_4", "t"

    with webhook(Event(), status="mine", event_type="mine") as fields:
        fields["status"] = "mine"
    with webhook(None):
        pass
    assert [(line["event_type"], line["status"]) for line in lines(log)] == [
        ("t", "received"), ("t", "processed"), ("unknown", "received"), ("unknown", "processed"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["password", "clientSecret", "x-api-key", "SMTP_PASSWORD", "access_token", "Authorization",
     "cookie", "card_number", "cvc", "db_pass", "AWSSecretKey", "passwordHash", "private_key_pem"],
)  # fmt: skip
def test_a_secret_is_never_written_at_any_depth(name: str, log: Path) -> None:
    metric("e", "s", **{name: "hunter22"}, a={"b": [{name: "hunter22", "seen": 1}]})
    assert "hunter22" not in log.read_text()
    assert lines(log)[0]["a"] == {"b": [{"seen": 1}]}


def test_what_only_looks_like_a_secret_stays(log: Path) -> None:
    fields = {"session_id": "cs_test_a1", "input_tokens": 77, "idempotency_key": "k", "pinned": 1}
    metric("e", "s", **fields)
    assert fields.items() <= lines(log)[0].items()


class Colour(Enum):
    RED = "red"


class Silent:
    def __str__(self) -> str:
        raise RuntimeError


def test_a_value_without_a_text_costs_itself_alone(log: Path) -> None:
    circle: list[Any] = []
    circle.append(circle)
    metric("e", "s", a=Silent(), b=circle, c=float("nan"), d=10**5000, e=Colour.RED, f={1: {2}})
    (line,) = lines(log)
    assert (line["a"], line["c"], line["d"], line["e"]) == ("<Silent>", "nan", "<int>", "red")
    assert line["f"] == {"1": [2]}


def test_a_long_line_loses_its_largest_fields(log: Path) -> None:
    metric("e", "s", org_id="org_1", body="x" * 4000, **{f"part_{n}": "ü" * 1500 for n in range(9)})
    (line,) = lines(log)
    assert len(log.read_bytes()) <= MAX_LINE
    assert (line["org_id"], line["left_out"]) == ("org_1", 8)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(fields=st.dictionaries(st.text(max_size=20), VALUES, max_size=8), key=st.binary(max_size=1))
def test_any_fields_make_one_whole_line(fields: dict[str, Any], key: bytes) -> None:
    path = Path(webhook_metric._ready()._path or "")
    webhook_metric._ready()._key = key
    path.write_bytes(b"")
    webhook_metric._write("e", "s", fields)
    data = path.read_bytes()
    assert data.endswith(b"\n")
    assert data.count(b"\n") == 1
    assert len(data) <= MAX_LINE
    assert json.loads(data)["status"] == "s"


def test_lines_go_to_the_new_file_after_a_rotation(log: Path) -> None:
    metric("e", "before")
    log.rename(log.with_suffix(".1"))
    metric("e", "after")
    assert [line["status"] for line in lines(log.with_suffix(".1"))] == ["before"]
    assert [line["status"] for line in lines(log)] == ["after"]
    os.truncate(log, 0)  # copytruncate
    metric("e", "truncated")
    assert [line["status"] for line in lines(log)] == ["truncated"]


def test_what_cannot_be_written_is_counted_and_said(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    configure(tmp_path / "missing" / "metrics.log")
    for _ in range(3):
        metric("e", "s")
    assert lost() == 3
    assert "1 line not written to" in capfd.readouterr().err
    (tmp_path / "missing").mkdir()
    metric("e", "again")
    assert [line["status"] for line in lines(tmp_path / "missing" / "metrics.log")] == ["again"]


def test_a_full_disk_costs_lines_and_nothing_else(capfd: pytest.CaptureFixture[str]) -> None:
    configure("/dev/full")
    with webhook(EVENT):
        pass
    assert lost() == 2
    assert "No space left on device" in capfd.readouterr().err


def test_a_pipe_that_nobody_reads_does_not_stop_the_host(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    configure(tmp_path / "pipe")
    metric("e", "s")
    assert lost() == 1


TORN = """\
import resource, signal, sys
sys.path.append({folder!r})
from webhook_metric import configure, metric, lost
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
configure({path!r})
metric("e", "first")
resource.setrlimit(resource.RLIMIT_FSIZE, (200, {most}))
metric("e", "torn")
resource.setrlimit(resource.RLIMIT_FSIZE, ({most}, {most}))
metric("e", "whole")
print(lost())
"""


def test_a_torn_line_does_not_take_the_next_one_with_it(log: Path) -> None:
    most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    host = TORN.format(folder=str(HELPER.parent), path=str(log), most=most)
    done = subprocess.run([sys.executable, "-c", host], capture_output=True, check=True)
    first, torn, whole = log.read_text().splitlines()
    assert json.loads(first)["status"] == "first"
    assert torn == json.dumps(json.loads(first)).replace("first", "torn")[: len(torn)]
    assert json.loads(whole)["status"] == "whole"
    assert done.stdout == b"1\n"


def test_a_child_writes_although_a_thread_of_its_parent_was_writing(log: Path) -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with webhook_metric._ready()._lock:
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if not child:
        metric("e", "child")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    done.set()
    thread.join()
    metric("e", "parent")
    assert [line["status"] for line in lines(log)] == ["child", "parent"]


def test_threads_write_whole_lines_through_rotations(log: Path) -> None:
    def write() -> None:
        for number in range(200):
            metric("e", "s", number=number, pad="x" * 500)

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    rotated = 0
    while any(thread.is_alive() for thread in threads):
        if log.exists():
            rotated += 1
            log.rename(log.with_suffix(f".{rotated}"))
    written = [line for path in log.parent.glob("metrics.*") for line in lines(path)]
    assert len(written) == 1600
    assert lost() == 0


def test_a_key_that_cannot_be_read_is_said_and_lines_are_written(
    log: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(KEY_FILE, "/nowhere/key")
    configure(log)
    metric("e", "s")
    assert "hmac" not in lines(log)[0]
    assert "/nowhere/key cannot be read" in capfd.readouterr().err


def test_the_page_about_the_host_shows_what_works(log: Path) -> None:
    page = (HELPER.parents[2] / "docs" / "agentops.md").read_text()
    (shown,) = (block for block in page.split("```python\n") if "import configure" in block)
    shown = shown.partition("```")[0].replace("/var/log/webhook/metrics.log", str(log))
    host = f"import sys; sys.path.append({str(HELPER.parent)!r})\n{shown}"
    subprocess.run([sys.executable, "-I", "-c", host], check=True)
    assert [line["status"] for line in lines(log)] == ["payment_failure", "received", "processed"]


def test_it_needs_nothing_but_an_old_python() -> None:
    tree = ast.parse(HELPER.read_text(), feature_version=(3, 9))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {
        a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names
    }
    roots = {str(name).partition(".")[0] for name in imported}
    assert roots <= set(sys.stdlib_module_names)
