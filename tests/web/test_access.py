"""Who may ask for what, by the address that is listened on."""

from base64 import b64encode

import pytest

from sidecar.secret import Secret
from sidecar.web.server import WebState, build_app
from support.web import StubApi, asking_app, web_state

TOKEN = "opensesame-hunter2"
OPEN = ("/metrics", "/-/healthy", "/-/ready")
CHANGING = ("/-/reload", "/api/v1/alerts/resolve")
CLOSED = (
    ("GET", "/"),
    ("GET", "/api/v1/status"),
    ("GET", "/api/v1/alerts"),
    ("GET", "/api/v1/notifications"),
    ("GET", "/webhook-debug"),
    ("POST", "/api/v1/alerts/resolve"),
    ("POST", "/-/reload"),
    ("GET", "/no/such/path"),
)


def state(*, loopback: bool, token: str | None = TOKEN) -> WebState:
    secret = None if token is None else Secret(token)
    return web_state(api=StubApi(), loopback=loopback, token=lambda: secret)


@pytest.mark.parametrize("path", OPEN)
async def test_metrics_and_health_are_open_to_everybody(path: str) -> None:
    async with asking_app(build_app(state(loopback=False))) as client:
        assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize(("method", "path"), CLOSED)
async def test_all_else_needs_the_token_beyond_loopback(method: str, path: str) -> None:
    async with asking_app(build_app(state(loopback=False))) as client:
        answer = await client.request(method, path)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="sidecar", Basic realm="sidecar"'
    assert TOKEN not in answer.text


@pytest.mark.parametrize(("method", "path"), CLOSED)
async def test_and_is_off_without_one(method: str, path: str) -> None:
    async with asking_app(build_app(state(loopback=False, token=None))) as client:
        answer = await client.request(method, path, headers={"Authorization": "Bearer "})
    assert answer.status_code == 403
    assert "http.token_file" in answer.text


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer {TOKEN}", 200),
        (f"Bearer  {TOKEN} ", 200),
        (f"Bearer {TOKEN}x", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        (f"Basic {TOKEN}", 401),
        (f"Basic {b64encode(f'anybody:{TOKEN}'.encode()).decode()}", 200),
        (f"Basic {b64encode(f'anybody:{TOKEN}x'.encode()).decode()}", 401),
        (f"Basic {b64encode(TOKEN.encode()).decode()}", 401),
        ("Basic é", 401),
        (TOKEN, 401),
        ("Bearer", 401),
        ("Bearer ", 401),
        ("Bearer \xe9\xff", 401),
        ("", 401),
    ],
    ids=repr,
)
async def test_only_the_very_token_opens(header: str, status: int) -> None:
    async with asking_app(build_app(state(loopback=False))) as client:
        headers = {b"Authorization": header.encode("latin-1")}
        answer = await client.get("/api/v1/status", headers=headers)
    assert answer.status_code == status


async def test_a_token_beyond_ascii_can_be_given() -> None:
    async with asking_app(build_app(state(loopback=False, token="schlüssel"))) as client:
        headers = {b"Authorization": "Bearer schlüssel".encode()}
        assert (await client.get("/api/v1/status", headers=headers)).status_code == 200


@pytest.mark.parametrize(("method", "path"), CLOSED[:3])
async def test_on_loopback_no_token_is_needed(method: str, path: str) -> None:
    async with asking_app(build_app(state(loopback=True))) as client:
        assert (await client.request(method, path)).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1"], ids=str)
@pytest.mark.parametrize("path", CHANGING)
async def test_no_web_page_can_change_anything(path: str, origin: str) -> None:
    """A browser sends a simple POST to loopback from any page, and says which page it was."""
    api = StubApi()
    async with asking_app(build_app(web_state(api=api))) as client:
        answer = await client.post(path, headers={"Origin": origin}, json={"alertname": "A"})
    assert answer.status_code == 403
    assert api.asked == []


@pytest.mark.parametrize("site", ["cross-site", "same-site", "same-origin", "none", None], ids=str)
@pytest.mark.parametrize("path", CHANGING)
async def test_a_browser_that_names_no_origin_is_known_by_its_fetch_metadata(
    path: str, site: str | None
) -> None:
    api = StubApi()
    headers = {} if site is None else {"Sec-Fetch-Site": site}
    async with asking_app(build_app(web_state(api=api))) as client:
        answer = await client.post(path, headers=headers, json={"alertname": "A"})
    allowed = site in ("none", None)
    assert (answer.status_code, len(api.asked)) == ((200, 1) if allowed else (403, 0))


@pytest.mark.parametrize("loopback", [True, False], ids=["loopback", "beyond"])
async def test_metrics_can_be_asked_for_a_token(loopback: bool) -> None:  # noqa: FBT001 - a case
    state = web_state(loopback=loopback, metrics_token=lambda: Secret(TOKEN))
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    async with asking_app(build_app(state)) as client:
        refused = await client.get("/metrics")
        answered = await client.get("/metrics", headers=bearer)
        healthy = await client.get("/-/healthy")
    assert (refused.status_code, answered.status_code, healthy.status_code) == (401, 200, 200)
    assert "http.metrics_token_file" in refused.text
    assert TOKEN not in refused.text


async def test_the_token_of_metrics_opens_nothing_else() -> None:
    secret, other = Secret(TOKEN), Secret("another")
    state = web_state(
        api=StubApi(), loopback=False, token=lambda: other, metrics_token=lambda: secret
    )
    async with asking_app(build_app(state)) as client:
        answer = await client.get("/api/v1/status", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 401


async def test_where_metrics_are_elsewhere_there_are_none() -> None:
    async with asking_app(build_app(web_state(api=StubApi(), metrics=False))) as client:
        answers = [await client.get(path) for path in ("/metrics", "/-/healthy", "/api/v1/status")]
    assert [answer.status_code for answer in answers] == [404, 200, 200]
