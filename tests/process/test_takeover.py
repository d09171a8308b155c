"""A state file of the version before, killed in the middle of its life, and the daemon of today."""

import asyncio
import json
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from sidecar.config.load import load_config
from sidecar.daemon.app import Daemon
from support.daemon import SAMPLES
from support.live import JumpingClock
from support.sinks import SlackSink

KILLED = datetime(2026, 11, 2, 10, tzinfo=UTC)
# What the old daemon had counted.
EVENTS = {"failed": 13, "paid": 2, "past_due": 4, "received": 1, "refunded": 2, "slow": 1}
FAILURES = {"org_a": 3, "org_b": 3, "org_c": 3, "org_half": 2, "org_res": 2}
# The end of a line of which it had read the first piece, and stored nothing but where it begins.
SECOND_PIECE = {
    "log": 'received", "timestamp": "2026-11-02T09:59:11", "org_id": "org_d", "note": "'
    + "x" * 40
    + '"}\n',
    "stream": "stdout",
    "time": "2026-11-02T09:59:11.000000000Z",
}


@dataclass
class Life:
    """Today's daemon on the old state, its clock, what it reads and whom it tells."""

    folder: Path
    clock: JumpingClock
    client: httpx.AsyncClient
    url: str
    slack: SlackSink

    def write(self, clock: str, status: str, org: str, **more: str) -> None:
        record = {
            "metric_type": "WEBHOOK_METRIC", "webhook_provider": "stripe",
            "event_type": "invoice", "status": status,
            "timestamp": f"2026-11-02T{clock}", "org_id": org, **more,
        }  # fmt: skip
        self.append("app.log", record)

    def append(self, name: str, record: dict[str, str]) -> None:
        with (self.folder / name).open("a") as log:
            log.write(json.dumps(record) + "\n")

    async def samples(self) -> dict[str, float]:
        text = (await self.client.get(f"{self.url}/metrics")).text
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in (li.rsplit(" ", 1) for li in lines)}

    async def until(self, holds: Callable[[dict[str, float]], bool]) -> None:
        async with asyncio.timeout(30):
            while not holds(await self.samples()):
                pass

    async def counted(self, **more: int) -> None:
        """Wait until so many events more are counted, by status, and no others."""
        expected = {status: n + more.get(status, 0) for status, n in EVENTS.items()}
        await self.until(lambda samples: _by("webhook_events_total", "status", samples) == expected)

    async def told(self, *titles: str) -> None:
        """Wait until so many messages came and the daemon knows it; they are these."""
        await self.until(lambda _: len(self.slack.requests) >= len(titles))
        # Asked only now: an answer from before knows nothing of what has come since, and if the
        # clock jumps while a message is on its way, its group was told after the jump.
        await self.until(lambda samples: samples["sidecar_outbox_pending"] == 0)
        assert sorted(map(_title, self.posts())) == sorted(titles)

    def posts(self) -> list[dict[str, Any]]:
        return [request.json for request in self.slack.requests]

    async def alerts(self) -> list[str]:
        found = (await self.client.get(f"{self.url}/api/v1/alerts")).json()["alerts"]
        return sorted(f"{a['alertname']} {a['key']['org_id']} {a['state']}" for a in found)


def _title(post: dict[str, Any]) -> str:
    return f"{post['channel']} {post['blocks'][0]['text']['text'].split(' ', 1)[1]}"


def _by(name: str, label: str, samples: dict[str, float]) -> dict[str, float]:
    found: dict[str, float] = {}
    for sample, value in samples.items():
        if sample.startswith(f"{name}{{") and value:
            of = sample.split(f'{label}="')[1].split('"')[0]
            found[of] = found.get(of, 0) + value
    return found


def _restored(folder: Path, slack: SlackSink) -> str:
    """Lay the old files out in `folder`, on this machine's inodes; return the configuration."""
    shutil.copytree(SAMPLES / "takeover", folder, dirs_exist_ok=True)
    config = folder / "sidecar.yaml"
    text = config.read_text().replace("FOLDER", str(folder)).replace("SLACK", slack.url)
    config.write_text(text)
    with sqlite3.connect(folder / "state.db") as db:
        db.executescript((folder / "state.sql").read_text().replace("FOLDER", str(folder)))
        for name in ("app.log", "docker.log"):
            found = (folder / name).stat()
            where = (found.st_dev, found.st_ino, str(folder / name))
            db.execute("UPDATE files SET dev = ?, ino = ? WHERE path = ?", where)
    db.close()
    return str(config)


@asynccontextmanager
async def taken_over(folder: Path) -> AsyncIterator[Life]:
    stop = asyncio.Event()
    clock = JumpingClock(KILLED.timestamp() + 5 - time.time())
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    with SlackSink() as slack:
        config = load_config(_restored(folder, slack), {})
        async with httpx.AsyncClient(trust_env=False) as client, asyncio.TaskGroup() as group:
            daemon = Daemon(config, clock=clock, on_listen=port.set_result)
            group.create_task(daemon.run(stop))
            try:
                yield Life(folder, clock, client, f"http://127.0.0.1:{await port}", slack)
            finally:
                stop.set()


async def test_nothing_is_lost_and_nothing_is_told_twice(tmp_path: Path) -> None:
    async with taken_over(tmp_path) as life:
        # A message whose attempt was cut off, and one that waited for its retry.
        told = ["#pager [FIRING:1] Failing org_b (critical)"]
        told += ["#pager [FIRING:1] Failing org_c (critical)"]
        await life.told(*told)
        samples = await life.samples()
        assert _by("webhook_events_total", "status", samples) == EVENTS
        assert _by("takeover_failures_total", "org", samples) == FAILURES
        assert [samples[f"takeover_amount_{part}"] for part in ("sum", "count")] == [735, 12]
        assert await life.alerts() == [
            "Failing org_a firing", "Failing org_b firing", "Failing org_c firing",
            "Overdue org_1 firing", "Overdue org_2 firing", "Overdue org_3 firing",
            "Overdue org_old firing", "Slow org_p pending",
        ]  # fmt: skip

        # The rest of a line, an event seen before, the third failure of a window that held two,
        # and late failures from before their key was resolved: these two are no third ones.
        life.append("docker.log", SECOND_PIECE)
        life.write("10:00:06", "refunded", "org_t", event_id="evt_1")
        life.write("10:00:06", "failed", "org_half")
        for org in ("org_res", "org_floor"):
            for clock in ("09:24:00", "10:00:06", "10:00:07"):
                life.write(clock, "failed", org)
        told += ["#pager [FIRING:1] Failing org_half (critical)"]
        await life.counted(received=1, refunded=1, failed=7)
        await life.told(*told)
        life.write("10:00:08", "failed", "org_floor")
        told += ["#pager [FIRING:1] Failing org_floor (critical)"]
        life.write("10:00:08", "refunded", "org_u", event_id="evt_3")
        told += ["#team [FIRING:1] Twice org_u (warning)"]
        await life.told(*told)

        # A member that waited for its group's interval; the other two were told.
        life.clock.jump(120)
        told += ["#team [FIRING:1] Overdue org_2 (warning)"]
        await life.told(*told)

        # What was pending for 10 minutes, and the end of what was told before.
        life.clock.jump(360)
        life.write("10:08:05", "paid", "org_a")
        told += ["#team [FIRING:1] Slow org_p (warning)"]
        told += ["#pager [RESOLVED:1] Failing org_a (critical)"]
        await life.told(*told)

        # Escalations that were due three hours after their firing, and windows that run out.
        life.clock.jump(114 * 60)
        told += ["#pager [FIRING:1] Overdue org_old (critical)"]
        told += ["#pager [FIRING:1] Overdue org_3 (critical)"]
        told += ["#team [ESCALATED:2] Overdue org_old, org_3 (critical)"]
        unseen = ("org_b", "org_c", "org_floor", "org_half")
        told += [f"#pager [UNSEEN:1] Failing {org} (critical)" for org in unseen]
        told += [f"#team [UNSEEN:1] {alert} (warning)" for alert in ("Slow org_p", "Twice org_u")]
        await life.told(*told)
    assert sorted(map(_title, life.posts())) == sorted(told)
