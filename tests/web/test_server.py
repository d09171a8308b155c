"""The HTTP front over a real socket."""

import asyncio
import gzip
import logging
import signal
import socket
from pathlib import Path

import pytest

from sidecar.measure.exposition import Exposition
from sidecar.measure.meter import Meter
from sidecar.web.fault import StartError, short_name
from sidecar.web.metrics import SelfMetrics
from sidecar.web.server import WebState, build_app, listen, listen_unix, serve
from support.measure import NOW, events_of, samples
from support.web import StubApi, asking, asking_app, serving, web_state

OPENMETRICS = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}


def counting_state() -> WebState:
    meter, exposition = Meter([]), Exposition([])
    meter.add_tally(("stripe", "invoice.created", "received"), 7, NOW)
    exposition.apply(meter.drain())
    metrics = SelfMetrics()
    metrics.read_lines.inc(9)
    return web_state(lambda openmetrics: exposition.render(openmetrics=openmetrics), own=metrics)


async def test_metrics_holds_events_and_our_own_in_one_valid_text() -> None:
    async with asking(counting_state()) as client:
        answer = await client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = samples(answer.text)
    assert found[events_of("received")] == 7
    assert found["sidecar_read_lines_total", frozenset()] == 9
    assert "# EOF" not in answer.text


async def test_metrics_as_openmetrics_is_valid_and_ends_once() -> None:
    async with asking(counting_state()) as client:
        answer = await client.get("/metrics", headers=OPENMETRICS)
    assert answer.headers["content-type"] == (
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    )
    body = answer.text.removesuffix("# EOF\n")
    assert "# EOF" not in body
    assert body != answer.text
    assert samples(body, openmetrics=True)[events_of("received")] == 7


async def test_metrics_is_compressed_for_those_who_accept_it() -> None:
    async with asking(counting_state()) as client:
        async with client.stream("GET", "/metrics", headers={"Accept-Encoding": "gzip"}) as answer:
            raw = b"".join([piece async for piece in answer.aiter_raw()])
        plain = await client.get("/metrics", headers={"Accept-Encoding": "identity"})
    assert answer.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert samples(gzip.decompress(raw).decode()).keys() == samples(plain.text).keys()


async def test_a_scrape_that_fails_is_a_500_and_the_next_one_is_answered() -> None:
    texts = iter(["a 1\n", "a 2\n"])

    def exposition(openmetrics: bool) -> str:  # noqa: FBT001 - WebState says so
        return texts.__next__() if openmetrics else str(1 / 0)

    async with asking(web_state(exposition)) as client:
        failed = await client.get("/metrics")
        answered = await client.get("/metrics", headers=OPENMETRICS)
    assert failed.status_code == 500
    assert failed.text == (
        "this request failed inside the sidecar (ZeroDivisionError); its log says where\n"
    )
    assert (answered.status_code, answered.text.startswith("a 1\n")) == (200, True)


async def test_a_cache_is_told_what_the_answer_depends_on() -> None:
    async with asking(counting_state()) as client:
        answer = await client.get("/metrics")
    assert answer.headers["vary"] == "Accept, Accept-Encoding"


async def test_each_scrape_shows_the_present() -> None:
    meter, exposition = Meter([]), Exposition([])
    state = web_state(lambda openmetrics: exposition.render(openmetrics=openmetrics))
    seen = []
    async with asking(state) as client:
        for _ in range(3):
            meter.add_tally(("stripe", "invoice.created", "received"), 1, NOW)
            exposition.apply(meter.drain())
            seen.append(samples((await client.get("/metrics")).text)[events_of("received")])
    assert seen == [1, 2, 3]


async def test_a_page_answers_head_like_get_and_to_nothing_else() -> None:
    async with asking_app(build_app(web_state())) as client:
        for path in ("/metrics", "/-/healthy", "/-/ready"):
            answer, reference = await client.head(path), await client.get(path)
            assert (answer.status_code, answer.content) == (200, b"")
            assert answer.headers["content-type"] == reference.headers["content-type"]
            for method in ("POST", "PUT", "DELETE"):
                assert (await client.request(method, path)).status_code == 405


async def test_any_other_path_is_404() -> None:
    async with asking_app(build_app(web_state())) as client:
        for path in ("/", "/metric", "/metrics/x", "/-/", "/api/v1/status", "/metrics/"):
            assert (await client.get(path)).status_code == 404


async def test_it_is_healthy_while_it_is_not_ready() -> None:
    state = web_state(ready=lambda: (False, "the first read is not finished"))
    async with asking(state) as client:
        healthy, ready = await client.get("/-/healthy"), await client.get("/-/ready")
    assert healthy.status_code == 200
    assert (ready.status_code, ready.text) == (503, "the first read is not finished\n")


async def test_it_says_when_it_is_ready() -> None:
    async with asking(web_state()) as client:
        answer = await client.get("/-/ready")
    assert (answer.status_code, answer.text) == (200, "ready\n")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:9787", 200),
        ("127.8.8.8", 200),
        ("localhost", 200),
        ("LOCALHOST:9787", 200),
        ("[::1]:9787", 200),
        ("evil.example:9787", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("10.0.0.1", 403),
        ("[::2]", 403),
        ("", 403),
    ],
    ids=str,
)
async def test_on_loopback_the_api_answers_only_to_names_of_this_machine(
    host: str, status: int
) -> None:
    async with asking_app(build_app(web_state(api=StubApi()))) as client:
        answer = await client.get("/api/v1/status", headers={"Host": host})
    assert answer.status_code == status


@pytest.mark.parametrize("path", ["/metrics", "/-/healthy", "/-/ready"])
async def test_behind_a_proxy_on_loopback_metrics_and_health_are_open(path: str) -> None:
    async with asking(web_state()) as client:
        answer = await client.get(path, headers={"Host": "sidecar.prod.example:9787"})
    assert answer.status_code == 200


async def test_beyond_loopback_any_host_name_is_answered() -> None:
    async with asking(web_state(), host="0.0.0.0") as client:  # noqa: S104 - that is the case here
        answer = await client.get("/metrics", headers={"Host": "sidecar.prod.example:9787"})
    assert answer.status_code == 200


async def test_a_taken_port_is_one_sentence_that_says_what_to_set() -> None:
    async with serving(web_state()) as port:
        with pytest.raises(StartError) as caught:
            await serve(build_app(web_state()), ("127.0.0.1", port), asyncio.Event())
    assert str(caught.value) == (
        f"port {port} on 127.0.0.1 is taken: another process listens there; "
        'set http.listen to a free one, for example "0.0.0.0:9788"'
    )


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1"], ids=["name", "address"])
def test_an_address_that_is_not_ours_is_one_sentence(host: str) -> None:
    with pytest.raises(StartError, match=rf"^cannot listen on {host} port 1234: .*http.listen$"):
        listen((host, 1234))


def test_an_empty_host_means_every_address() -> None:
    with listen(("", 0)) as listener:
        assert listener.getsockname()[0] in ("0.0.0.0", "::")  # noqa: S104 - a comparison


async def test_stopping_ends_idle_connections_and_frees_the_port() -> None:
    async with serving(web_state()) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"healthy\n")
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    with listen(("127.0.0.1", port)):
        pass


async def test_cancelling_frees_the_port() -> None:
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(
        serve(build_app(web_state()), ("127.0.0.1", 0), asyncio.Event(), port.set_result)
    )
    taken = await port
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with listen(("127.0.0.1", taken)):
        pass


async def test_a_silent_client_holds_up_nobody() -> None:
    async with serving(web_state()) as port, asyncio.timeout(5):
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /-/ready HTTP/1.0\r\nHost: localhost\r\n\r\n")
        assert (await reader.read()).endswith(b"ready\n")
        for _, open_writer in [*silent, (reader, writer)]:
            open_writer.close()
            await open_writer.wait_closed()


async def test_signals_stay_with_the_daemon() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with serving(web_state()):
        during = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert during == before


async def test_requests_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with asking(web_state()) as client:
            await client.get("/metrics")
    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []


async def test_the_port_is_told_only_once_it_answers() -> None:
    async with serving(web_state()) as port:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            assert connection.getpeername()[1] == port


def asked_over(path: Path, sent: bytes) -> bytes:
    with short_name(str(path)) as short, socket.socket(socket.AF_UNIX) as connection:
        connection.connect(short)
        connection.sendall(sent)
        return b"".join(iter(lambda: connection.recv(9999), b""))


async def test_who_may_open_the_admin_socket_may_ask_for_all(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 200)  # longer than the address of a unix socket
    folder.mkdir()
    path, stop, api = folder / "admin.sock", asyncio.Event(), StubApi()
    state = web_state(api=api, loopback=False, admin=True)
    with listen_unix(str(path)):
        pass  # killed: its socket is left behind
    async with asyncio.TaskGroup() as group:
        group.create_task(serve(build_app(state), str(path), stop))
        await asyncio.sleep(0)
        asked = b"POST /-/reload HTTP/1.0\r\nHost: localhost\r\n\r\n"
        answer = await asyncio.to_thread(asked_over, path, asked)
        mode = path.stat().st_mode & 0o777
        with pytest.raises(StartError, match=r"another process listens there$"):
            await asyncio.to_thread(listen_unix, str(path))
        stop.set()
    assert answer.endswith(b"reloaded\n")
    assert mode == 0o600
    assert not path.exists()


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("file", "cannot listen on .*/file: Address already in use"),
        ("nowhere/admin.sock", "cannot listen on .*/nowhere/admin.sock: No such file or directory"),
    ],
)
def test_where_no_socket_can_be_is_one_sentence(tmp_path: Path, path: str, why: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match=f"^{why}$"):
        listen_unix(str(tmp_path / path))
    assert (tmp_path / "file").read_text() == ""
