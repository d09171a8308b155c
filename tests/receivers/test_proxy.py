"""Which requests go through which proxy, and that they do."""

import socket
import ssl
from pathlib import Path

import pytest

from sidecar.config.load import Checked, check_config
from sidecar.receivers import http
from sidecar.receivers.base import Failed, FailureKind, Outcome, Sent, Verdict
from sidecar.receivers.http import client, post
from sidecar.receivers.proxy import HttpConfig, is_excepted
from sidecar.secret import Secret
from support.config import ENVIRON, SECRET, write_config
from support.proxy import Proxy
from support.sinks import CERTIFICATE, SlackSink


def by(url: str, **more: str) -> HttpConfig:
    return HttpConfig(proxy_url=Secret(url), **more)  # type: ignore[arg-type]


async def posted(url: str, how: HttpConfig) -> Outcome:
    async with client() as made:
        return await post(made, url, b"{}", by=how)


# golang.org/x/net/http/httpproxy, Config.NoProxy and its tests.
@pytest.mark.parametrize(
    ("host", "port", "exceptions", "excepted"),
    [
        ("localhost", 80, "", True),
        ("127.3.2.1", 80, "", True),
        ("::1", 80, "", True),
        ("example.com", 80, "", False),
        ("example.com", 80, "*", True),
        ("example.com", 80, "other.com, example.com", True),
        ("a.example.com", 80, "example.com", True),
        ("notexample.com", 80, "example.com", False),
        ("example.com", 80, ".example.com", False),
        ("a.example.com", 80, ".example.com", True),
        ("a.example.com", 80, "*.example.com", True),
        ("example.com", 80, "*.example.com", False),
        ("example.com", 80, "Example.COM", True),
        ("example.com", 443, "example.com:443", True),
        ("example.com", 80, "example.com:443", False),
        ("10.1.2.3", 80, "10.0.0.0/8", True),
        ("11.1.2.3", 80, "10.0.0.0/8", False),
        ("example.com", 80, "10.0.0.0/8", False),
        ("10.1.2.3", 80, "10.1.2.3", True),
        ("10.1.2.3", 80, "10.1.2.3:81", False),
        ("fe80::1", 80, "[fe80::1]:80", True),
        ("fe80::1", 80, "fe80::/10", True),
        ("example.com", 80, "no/thing, ,", False),
    ],
)
def test_what_no_proxy_means(host: str, port: int, exceptions: str, *, excepted: bool) -> None:
    assert is_excepted(host, port, exceptions) == excepted


def test_a_proxy_alone_takes_all_and_with_exceptions_not_this_machine() -> None:
    url = "http://127.0.0.1:9/x"
    assert by("http://proxy:3128").proxy_for(url) == "http://proxy:3128"
    assert by("http://proxy:3128", no_proxy="internal").proxy_for(url) is None
    assert by("http://proxy:3128", no_proxy="internal").proxy_for("https://a.b") is not None


@pytest.mark.parametrize("tls", [False, True])
async def test_a_message_goes_through_the_proxy(
    monkeypatch: pytest.MonkeyPatch, *, tls: bool
) -> None:
    monkeypatch.setattr(http, "_trusted", lambda: ssl.create_default_context(cafile=CERTIFICATE))
    with SlackSink(tls=tls) as sink:
        async with Proxy(("user", "pass word")) as proxy:
            url = proxy.url.replace("//", "//user:pass%20word@")
            address = sink.url.replace("127.0.0.1", "localhost") if tls else sink.url
            assert await posted(address, by(url)) == Sent()
            (line,) = proxy.asked
        assert line.startswith("CONNECT localhost:" if tls else f"POST {sink.url} ")
        assert len(sink.requests) == 1


async def test_the_environment_counts_for_nothing_unless_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "no proxy at all")
    with SlackSink() as sink:
        assert await posted(sink.url, HttpConfig()) == Sent()


@pytest.mark.parametrize("tls", [False, True])
async def test_a_proxy_that_wants_a_login(*, tls: bool) -> None:
    with SlackSink(tls=tls) as sink:
        async with Proxy(("user", "password")) as proxy:
            outcome = await posted(sink.url, by(proxy.url))
    assert isinstance(outcome, Failed)
    if tls:
        assert (outcome.kind, outcome.verdict) == (FailureKind.CONNECT, Verdict.RETRY)
        assert outcome.detail == "the proxy refuses: 407 Who are you"
    else:
        assert (outcome.kind, outcome.verdict) == (FailureKind.AUTH, Verdict.PARK)
        assert outcome.detail == "HTTP 407"


async def test_a_proxy_that_is_not_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}"
        outcome = await posted("http://example.invalid/", by(nobody))
    assert outcome == Failed(FailureKind.CONNECT, Verdict.RETRY, "connection refused")


# --- in the configuration


def checked(folder: Path, http_config: str, **environ: str) -> Checked:
    text = f"global: {{slack_app_token: xoxb-{SECRET}, http_config: {http_config}}}"
    return check_config(write_config(folder, globals_=text), {**ENVIRON, **environ})


ENVIRONMENT = {
    "HTTPS_PROXY": f"http://user:{SECRET}@proxy:3128", "http_proxy": "plain:80",
    "NO_PROXY": "internal",
}  # fmt: skip


def test_what_is_in_force_stands_in_the_configuration_without_a_password(tmp_path: Path) -> None:
    config = checked(tmp_path, "{proxy_from_environment: true}", **ENVIRONMENT).config
    assert config is not None
    assert config.proxy == (
        "http://plain:80 for http, http://proxy:3128 for https, not for internal"
    )
    assert config.http_config.proxy_for("https://slack.com/api") == ENVIRONMENT["HTTPS_PROXY"]
    assert config.http_config.proxy_for("http://a.internal/") is None
    (slack,) = config.receivers["team"].configs["slack"]
    assert slack.http_config == config.http_config  # type: ignore[attr-defined]


def test_a_proxy_of_the_environment_that_is_not_asked_for_is_named(tmp_path: Path) -> None:
    config = checked(tmp_path, "{}", **ENVIRONMENT).config
    assert config is not None
    assert config.proxy == "none: HTTPS_PROXY is not asked for by proxy_from_environment"
    assert config.http_config.proxy_for("https://slack.com/api") is None


def test_what_is_wrong_in_the_environment_is_said_and_is_no_crash(tmp_path: Path) -> None:
    found = checked(
        tmp_path, "{proxy_from_environment: true}",
        HTTP_PROXY=f"socks5://u:{SECRET}@a", ALL_PROXY="://", SSL_CERT_FILE="/nowhere/ca.pem",
    )  # fmt: skip
    unusable = (
        "in the environment cannot be used: /nowhere/ca.pem: No such file or directory; "
        "mend or unset it"
    )
    instead = "set HTTP_PROXY and HTTPS_PROXY"
    said = [str(fault).partition("sidecar.yaml:")[2] for fault in found.faults]
    assert said == [
        f"1:1: error: SSL_CERT_FILE {unusable}",
        f"3:79: warning: ALL_PROXY is not looked at, as in Prometheus; {instead}",
        "3:79: error: HTTP_PROXY is not the URL of a proxy; write for example http://proxy:3128",
    ]


def test_a_file_of_certificates_that_holds_none_is_said(tmp_path: Path) -> None:
    empty = tmp_path / "ca.pem"
    empty.write_text("nothing\n")
    (fault,) = checked(tmp_path, "{}", SSL_CERT_FILE=str(empty)).faults
    assert f"SSL_CERT_FILE in the environment cannot be used: {empty}: " in str(fault)
