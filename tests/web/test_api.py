"""The HTTP API as seen from outside; what is behind it is a stub."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from sidecar.web.api import LONGEST_BODY
from sidecar.web.fault import Refusal
from sidecar.web.server import build_app
from support.web import StubApi, asking, asking_app, known, web_state

RESOLVE = "/api/v1/alerts/resolve"
PRUNE = "/api/v1/metrics/prune"
SECRET = "sk_live_NotARealKey0123456789"


async def test_alerts_are_an_object_with_a_list() -> None:
    async with asking_app(build_app(web_state(api=StubApi()))) as client:
        answer = await client.get("/api/v1/alerts")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"alerts": known()["alerts"]}


async def test_status_is_an_object() -> None:
    async with asking_app(build_app(web_state(api=StubApi()))) as client:
        assert (await client.get("/api/v1/status")).json() == known()["status"]


async def test_resolve_hands_on_name_and_key() -> None:
    api = StubApi()
    async with asking_app(build_app(web_state(api=api))) as client:
        answer = await client.post(RESOLVE, json={"alertname": "A", "key": {"org_id": "o"}})
    assert (answer.status_code, answer.json()) == (200, {"resolved": {"alertname": "A"}})
    assert api.asked == [("A", {"org_id": "o"})]


async def test_ack_hands_on_matchers_person_and_comment() -> None:
    api = StubApi()
    wanted = {"matchers": ["org_id=o"], "by": "ann", "comment": "on it"}
    async with asking_app(build_app(web_state(api=api))) as client:
        done = await client.post("/api/v1/alerts/ack", json=wanted)
        without = await client.post("/api/v1/alerts/ack", json={"matchers": []})
    assert (done.status_code, done.json()) == (200, {"acked": [{"alertname": "A", "key": {}}]})
    assert without.status_code == 400
    assert api.asked == [("ack", {"matchers": "org_id=o", "ann": "on it"})]


async def test_prune_hands_on_matchers_and_wants_some() -> None:
    api = StubApi()
    async with asking_app(build_app(web_state(api=api))) as client:
        done = await client.post(PRUNE, json={"matchers": ['pod="a"', 'n="b"']})
        empty = await client.post(PRUNE, json={"matchers": []})
    assert (done.status_code, done.json()) == (200, {"pruned": 2})
    assert empty.status_code == 400
    assert api.asked == [("prune", {'pod="a"': "", 'n="b"': ""})]


async def test_an_alert_without_key_needs_none() -> None:
    api = StubApi()
    async with asking_app(build_app(web_state(api=api))) as client:
        await client.post(RESOLVE, json={"alertname": "A"})
    assert api.asked == [("A", {})]


async def test_a_refusal_is_its_status_and_one_sentence() -> None:
    api = StubApi(refusal=Refusal(404, "no alert A is open"))
    async with asking_app(build_app(web_state(api=api))) as client:
        answer = await client.post(RESOLVE, json={"alertname": "A"})
    assert (answer.status_code, answer.json()) == (404, {"error": "no alert A is open"})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"alertname": 1}',
        b'{"alertname": "A", "key": {"org_id": 1}}',
        b'{"alertname": "A", "kye": {}}',
        b'{"alertname": "\xff"}',
        b"[" * 50_000,
    ],
    ids=lambda body: repr(body[:40]),
)
async def test_what_cannot_be_read_is_a_400(body: bytes) -> None:
    api = StubApi()
    async with asking_app(build_app(web_state(api=api))) as client:
        answer = await client.post(RESOLVE, content=body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("the request cannot be read: ")
    assert api.asked == []


async def test_an_endless_request_is_cut_off() -> None:
    async with asking_app(build_app(web_state(api=StubApi()))) as client:
        answer = await client.post(RESOLVE, content=b" " * (LONGEST_BODY + 1))
    assert answer.status_code == 413


class BrokenApi(StubApi):
    """Fails at whatever it is asked for, with a secret in its words."""

    async def alerts(self) -> list[dict[str, Any]]:
        raise KeyError(SECRET)

    async def status(self) -> dict[str, Any]:
        return {"logs": [1 / 0]}

    async def resolve(
        self, alertname: str, key: Mapping[str, str], person: str = ""
    ) -> dict[str, Any]:
        raise RecursionError(alertname, key, person)

    async def reload(self) -> Sequence[str]:
        raise RuntimeError(SECRET)


FAILING = [
    ("GET", "/api/v1/alerts", "KeyError"),
    ("GET", "/api/v1/status", "ZeroDivisionError"),
    ("POST", RESOLVE, "RecursionError"),
    ("POST", "/-/reload", "RuntimeError"),
]


@pytest.mark.parametrize(("method", "path", "kind"), FAILING)
async def test_an_exception_is_the_failure_of_its_own_call_and_logged(
    method: str, path: str, kind: str
) -> None:
    sentence = f"this request failed inside the sidecar ({kind}); its log says where"
    with capture_logs() as logged:
        async with asking(web_state(api=BrokenApi())) as client:
            answer = await client.request(method, path, json={"alertname": "A"})
            assert (await client.get("/-/healthy")).status_code == 200
    assert answer.status_code == 500
    found = answer.json()["error"] if path.startswith("/api/") else answer.text.removesuffix("\n")
    assert found == sentence
    assert SECRET not in answer.text
    assert logged == [
        {
            "event": "request_failed", "log_level": "error",
            "path": path, "error": kind, "exc_info": True,
        }
    ]  # fmt: skip


async def test_what_utf8_cannot_hold_is_escaped() -> None:
    class Api(StubApi):
        async def status(self) -> dict[str, Any]:
            return {"logs": ["app\udcff.log"]}

    async with asking_app(build_app(web_state(api=Api()))) as client:
        assert (await client.get("/api/v1/status")).json() == {"logs": ["app\udcff.log"]}


async def test_a_reload_answers_in_words() -> None:
    async with asking_app(build_app(web_state(api=StubApi()))) as client:
        answer = await client.post("/-/reload")
    assert (answer.status_code, answer.text) == (200, "reloaded\n")


async def test_a_faulty_reload_is_a_500_with_every_fault() -> None:
    api = StubApi(faults=["a.yaml:1:1: error: x", "b.yaml:2:2: error: y"])
    async with asking_app(build_app(web_state(api=api))) as client:
        answer = await client.post("/-/reload")
    assert answer.status_code == 500
    assert answer.text.splitlines()[1:] == ["a.yaml:1:1: error: x", "b.yaml:2:2: error: y"]


@pytest.mark.parametrize("path", ["/-/reload", RESOLVE])
async def test_what_changes_something_is_never_a_get(path: str) -> None:
    api = StubApi()
    async with asking_app(build_app(web_state(api=api))) as client:
        assert (await client.get(path)).status_code == 405
    assert api.asked == []
