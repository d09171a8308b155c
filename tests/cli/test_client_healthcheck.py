"""`sidecar healthcheck` against a real server, and where it looks for one."""

import asyncio
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sidecar.cli.client import Daemon, healthcheck
from support.web import serving, web_state


def url_of(config: Path) -> str:
    return Daemon(None, str(config), (), 1.0).url


async def check(*arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, healthcheck, arguments)


async def test_a_daemon_that_answers_is_healthy() -> None:
    async with serving(web_state()) as port:
        result = await check("--url", f"http://127.0.0.1:{port}")
    assert (result.exit_code, result.output) == (0, "healthy\n")


async def test_a_path_in_the_url_asks_there_instead() -> None:
    state = web_state(ready=lambda: (False, "the first read is not finished"))
    async with serving(state) as port:
        url = f"http://127.0.0.1:{port}/-/ready"
        result = await check("--url", url)
    assert result.exit_code == 1
    assert result.output == f"unhealthy: {url} answers 503: the first read is not finished\n"


async def test_nobody_answering_is_one_line_and_exit_1() -> None:
    async with serving(web_state()) as port:
        pass
    result = await check("--url", f"http://127.0.0.1:{port}")
    assert result.exit_code == 1
    assert result.output.startswith(f"unhealthy: no answer from http://127.0.0.1:{port}: ")
    assert result.output.count("\n") == 1


@pytest.mark.parametrize(
    "url", ["127.0.0.1:9787", "https://localhost", "http://", "http://localhost:port"]
)
async def test_what_is_no_url_is_one_line_and_exit_1(url: str) -> None:
    result = await check("--url", url)
    assert result.exit_code == 1
    assert result.output.startswith("unhealthy: ")
    assert result.output.count("\n") == 1


async def test_the_address_comes_from_the_configuration(tmp_path: Path) -> None:
    config = tmp_path / "sidecar.yaml"
    async with serving(web_state()) as port:
        section = f'http: {{listen: "127.0.0.1:{port}", token: "${{UNSET}}", tokn: 1}}'
        config.write_text(f'{section}\nglobal: {{x: "${{UNSET}}", y: no}}\n')
        result = await check("-c", str(config))
    assert (result.exit_code, result.output) == (0, "healthy\n")


def test_a_configuration_without_an_address_means_the_default(tmp_path: Path) -> None:
    config = tmp_path / "sidecar.yaml"
    config.write_text("sources: []\n")
    assert url_of(config) == "http://127.0.0.1:9787"


def test_a_variable_in_the_address_is_expanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "sidecar.yaml"
    config.write_text('http: {listen: "0.0.0.0:${SIDECAR_TEST_PORT}"}\n')
    monkeypatch.setenv("SIDECAR_TEST_PORT", "1234")
    assert url_of(config) == "http://127.0.0.1:1234"


@pytest.mark.parametrize(
    "text",
    ["a: [", "\tx", "- a", "http: 7", 'http: {listen: "${UNSET}"}', "http: {listen: 7}", None],
    ids=repr,
)
async def test_a_configuration_that_cannot_be_read_is_unhealthy(
    tmp_path: Path, text: str | None
) -> None:
    config = tmp_path / "sidecar.yaml"
    if text is not None:
        config.write_text(text)
    result = await check("-c", str(config))
    assert result.exit_code == 1
    assert result.output.startswith(f"unhealthy: cannot tell where the daemon listens: {config}:")
    assert result.output.count("\n") == 1


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("0.0.0.0:9787", "http://127.0.0.1:9787"),
        (":9787", "http://127.0.0.1:9787"),
        ("[::]:9787", "http://[::1]:9787"),
        ("[fd00::7]:9787", "http://[fd00::7]:9787"),
        ("10.1.2.3:80", "http://10.1.2.3:80"),
        ("localhost:9787", "http://localhost:9787"),
    ],
    ids=str,
)
def test_every_address_means_this_machine(tmp_path: Path, listen: str, url: str) -> None:
    config = tmp_path / "sidecar.yaml"
    config.write_text(f'http: {{listen: "{listen}"}}\n')
    assert url_of(config) == url
