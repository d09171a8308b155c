"""What a signature costs: webhooks that the daemon takes, and lines of the host's helper."""

import asyncio
import os
import tempfile
import time
from pathlib import Path

import httpx

from bench.table import Row, faster
from sidecar.host import webhook_metric
from sidecar.parse.event import Chunk, LogFormat
from sidecar.parse.parser import Parser
from support.daemon import running, until
from support.stripe import SECRET, encoded, event, free_port, signed

_CONFIG = """\
sources:
  - stripe_webhook:
      listen: "127.0.0.1:{port}"
      path: /stripe
      secrets_file: secrets
      org_id: [metadata.org_id]
rule_files: ["{rules}/billing.rules.yaml"]
state: {{path: state.db}}
http: {{listen: "127.0.0.1:0"}}
route: {{receiver: nobody}}
receivers: [{{name: nobody}}]
"""
_RULES = Path(__file__).parents[2] / "rules"
_AT_ONCE = 32
_LINES = 400  # of a chunk


def measure(folder: Path, posts: int, lines: int) -> list[Row]:
    """Post so many events to a daemon, and parse so many lines, signed and not."""
    rate = _posted(folder, posts)
    unsigned, with_key = _parsed(lines)
    return [
        faster(
            f"{posts} signed webhooks, {_AT_ONCE} at a time, against 100 a second",
            f"{rate:,.0f}/s", "", [rate / 100], must=1, aim=5,
        ),
        faster(
            f"{lines} lines with an HMAC, against none, lines/s parsed",
            f"{with_key:,.0f}", f"without {unsigned:,.0f}", [with_key / unsigned],
            must=0.05, aim=0.2,
        ),
    ]  # fmt: skip


def _posted(folder: Path, posts: int) -> float:
    port = free_port()
    (folder / "secrets").write_text(SECRET)
    config = folder / "signed.yaml"
    config.write_text(_CONFIG.format(port=port, rules=_RULES))
    with running(config, inside=["env"]) as daemon:  # an interpreter of its own, as people start it
        until(lambda: any("webhooks_listening" in line for line in daemon.log), "it listens")
        return posts / asyncio.run(_post(f"http://127.0.0.1:{port}/stripe", posts))


async def _post(url: str, posts: int) -> float:
    """Post each event once; return the seconds until the last is committed."""
    bodies = [encoded(event(n, metadata={"org_id": f"org_{n % 50}"})) for n in range(posts)]
    left = iter([(body, signed(body)) for body in bodies])
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:

        async def poster() -> None:
            for body, headers in left:
                (await client.post(url, content=body, headers=headers)).raise_for_status()

        began = time.perf_counter()
        await asyncio.gather(*(poster() for _ in range(_AT_ONCE)))
        return time.perf_counter() - began


def _parsed(lines: int) -> tuple[float, float]:
    """Return the lines a second that are parsed without a key and with one."""
    with tempfile.TemporaryDirectory() as folder:
        key, log = Path(folder) / "key", Path(folder) / "log"
        key.write_text("shared")
        os.environ[webhook_metric.KEY_FILE] = str(key)
        webhook_metric.configure(log)
        for number in range(_LINES):
            webhook_metric.metric("invoice.paid", "paid", org_id=f"org_{number}", number=number)
        del os.environ[webhook_metric.KEY_FILE]
        webhook_metric.configure()
        data = log.read_bytes()
    parser, now = Parser(), time.time()
    rates = []
    for secret in (b"", b"shared"):
        chunk = Chunk(1, "log", LogFormat.AUTO, data, 0, None, secret)
        began = time.perf_counter()
        for _ in range(lines // _LINES):
            found = parser.parse(chunk, now=now, wanted=lambda _triple: False)
            assert sum(tally.count for tally in found.tallies.values()) == _LINES
        rates.append(lines / (time.perf_counter() - began))
    return rates[0], rates[1]
