"""With a bot token: a message is kept up to date, and what follows is told in its thread."""

import json
from typing import Any

import httpx
import msgspec
import pytest

from sidecar.notify.model import Notification, Reason, Receiver
from sidecar.notify.notifier import Notifier
from sidecar.receivers import shipped_templates
from sidecar.receivers.base import Sent
from sidecar.receivers.slack.config import SlackConfig
from sidecar.receivers.slack.message import render
from sidecar.receivers.slack.send import send
from sidecar.redact import Redactor
from sidecar.render.renderer import Renderer
from sidecar.rows import SENT, CooldownRow, GroupRow, MemberRow, ToldRow
from sidecar.secret import Secret
from support.notify import MINUTE, T0, Table, World, route

CONFIG = SlackConfig(channel="#pager", app_token=Secret("xoxb-1"))
ROOT = route("{}", "pager", group_by=("alertname",), group_interval=MINUTE)


class Api:
    """Slack's API in memory: the messages that there are, and what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.gone: set[str] = set()
        self.edits: httpx.Response | None = None
        self._ts = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        method, body = request.url.path.rpartition("/")[2], json.loads(request.content)
        self.asked.append((method, body))
        if method == "chat.update" and self.edits is not None:
            return self.edits
        if method == "chat.update" and body["ts"] in self.gone:
            return httpx.Response(200, json={"ok": False, "error": "message_not_found"})
        if method == "reactions.add":
            return httpx.Response(200, json={"ok": False, "error": "missing_scope"})
        self._ts += method == "chat.postMessage"
        ts = body.get("ts", f"{self._ts}.0")
        return httpx.Response(200, json={"ok": True, "channel": "C1", "ts": ts})

    def take(self) -> list[tuple[str, dict[str, Any]]]:
        taken, self.asked = self.asked, []
        return taken


class Desk:
    """A notifier, and what it decides sent to the API at once."""

    def __init__(self) -> None:
        self.api, self.world, self.table = Api(), World(), Table()
        self.receivers = {"pager": Receiver(name="pager", configs={"slack": (CONFIG,)})}
        self.notifier = Notifier(ROOT, self.receivers)
        self.renderer = Renderer(shipped_templates(), Redactor())

    async def step(self, at: float, *transitions: Any) -> list[tuple[str, dict[str, Any]]]:
        self.notifier.add(transitions, at)
        self.notifier.flush(at, caught_up=True)
        drained = self.notifier.drain()
        self.table.commit(drained.delta)
        for row in drained.outbox:
            told = msgspec.json.decode(row.payload, type=Notification)
            payload = render(CONFIG, self.renderer.rendering(told), plain=False).payload
            transport = httpx.MockTransport(self.api)
            async with httpx.AsyncClient(transport=transport) as client:
                outcome = await send(client, CONFIG, payload)
            assert isinstance(outcome, Sent)
            done = msgspec.structs.replace(row, outcome=SENT, reference=outcome.reference)
            self.notifier.end(done, at)
        self.table.commit(self.notifier.drain().delta)
        return self.api.take()

    def restart(self, now: float) -> None:
        self.notifier = Notifier(ROOT, self.receivers)
        load = self.table.load
        self.notifier.restore(
            load(GroupRow), load(MemberRow), load(ToldRow), load(CooldownRow), now
        )


def title(body: dict[str, Any]) -> str:
    text: str = body["blocks"][0]["text"]["text"]
    return text


@pytest.mark.parametrize("restarts", [False, True])
async def test_an_end_is_told_in_the_thread_and_turns_the_message_green(*, restarts: bool) -> None:
    desk = Desk()
    ((method, body),) = await desk.step(T0, desk.world.fire("a", severity="critical"))
    assert (method, body["channel"], "thread_ts" in body) == ("chat.postMessage", "#pager", False)
    if restarts:
        desk.restart(T0)
    edit, post, sign = await desk.step(T0 + 2 * MINUTE, desk.world.end("a"))
    assert (edit[0], edit[1]["channel"], edit[1]["ts"]) == ("chat.update", "C1", "1.0")
    assert "RESOLVED:1" in title(edit[1])
    assert (post[0], post[1]["thread_ts"], post[1]["reply_broadcast"]) == (
        "chat.postMessage", "1.0", True,
    )  # fmt: skip
    assert (sign[0], sign[1]["name"]) == ("reactions.add", "white_check_mark")


async def test_growth_and_escalation_edit_the_message() -> None:
    desk = Desk()
    await desk.step(T0, desk.world.fire("a"))
    edit, post = await desk.step(T0 + 2 * MINUTE, desk.world.escalate("a"))
    assert (edit[0], title(edit[1])) == (
        "chat.update",
        ":rotating_light: [FIRING:1] Late a (critical)",
    )
    assert (post[1]["thread_ts"], post[1]["reply_broadcast"]) == ("1.0", True)


async def test_a_new_alert_has_its_own_message_and_an_end_touches_only_its_own() -> None:
    desk = Desk()
    await desk.step(T0, desk.world.fire("a"), desk.world.fire("b"))
    ((method, body),) = await desk.step(T0 + 2 * MINUTE, desk.world.fire("c"))
    assert (method, "thread_ts" in body) == ("chat.postMessage", False)
    edit, post = await desk.step(T0 + 4 * MINUTE, desk.world.end("a"))
    assert edit[1]["ts"] == post[1]["thread_ts"] == "1.0"
    assert post[1]["reply_broadcast"] is False
    shown = json.dumps(edit[1])
    assert "b is late" in shown
    assert "c is late" not in shown
    # Ends of two messages are told in the channel, and both messages are brought up to date.
    *edits, post = await desk.step(T0 + 6 * MINUTE, desk.world.end("b"), desk.world.end("c"))
    edits = [one for one in edits if one[0] == "chat.update"]
    assert [one[1]["ts"] for one in edits] == ["1.0", "2.0"]


async def test_a_message_that_is_gone_is_posted_anew() -> None:
    desk = Desk()
    await desk.step(T0, desk.world.fire("a"))
    desk.api.gone.add("1.0")
    edit, post = await desk.step(T0 + 2 * MINUTE, desk.world.escalate("a"))
    assert edit[0] == "chat.update"
    assert (post[0], post[1]["channel"], "thread_ts" in post[1]) == (
        "chat.postMessage",
        "#pager",
        False,
    )
    edit, post, _ = await desk.step(T0 + 4 * MINUTE, desk.world.end("a"))
    assert edit[1]["ts"] == post[1]["thread_ts"] == "2.0"


NO_METHOD = httpx.Response(200, json={"ok": False, "error": "unknown_method"})


@pytest.mark.parametrize("answer", [httpx.Response(404, text="Not Found"), NO_METHOD])
async def test_where_nothing_can_be_edited_all_is_posted(answer: httpx.Response) -> None:
    desk = Desk()
    await desk.step(T0, desk.world.fire("a"))
    desk.api.edits = answer
    _, post = await desk.step(T0 + 2 * MINUTE, desk.world.escalate("a"))
    assert (post[0], "thread_ts" in post[1]) == ("chat.postMessage", False)


async def test_an_outage_while_editing_is_an_outage() -> None:
    desk = Desk()
    await desk.step(T0, desk.world.fire("a"))
    desk.api.edits = httpx.Response(503)
    with pytest.raises(AssertionError):  # not sent: it is tried again, whole
        await desk.step(T0 + 2 * MINUTE, desk.world.escalate("a"))
    assert [method for method, _ in desk.api.take()] == ["chat.update"]


async def test_a_repeat_is_for_the_whole_channel() -> None:
    desk = Desk()
    await desk.step(T0, desk.world.fire("a"))
    edit, post = await desk.step(T0 + 5 * 3600.0)
    assert (edit[0], post[1]["thread_ts"], post[1]["reply_broadcast"]) == (
        "chat.update",
        "1.0",
        True,
    )
    assert Reason.REPEAT.value in json.dumps(post[1])


async def test_without_threads_nothing_is_edited() -> None:
    plain = SlackConfig(channel="#pager", app_token=Secret("xoxb-1"), thread=False)
    hook = SlackConfig(channel="#pager", api_url=Secret("https://hooks.slack.com/x"))
    stand_in = SlackConfig(channel="#c", app_token=Secret("t"), app_url="https://chat.example/hook")
    assert not any(one.threads for one in (plain, hook, stand_in))
