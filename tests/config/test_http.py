"""The section `http` read alone: what is wrong in it is said, what is wrong elsewhere is not."""

from pathlib import Path

import pytest

from sidecar.config.http import Http, read_http
from sidecar.config.load import load_config
from sidecar.secret import Secret
from sidecar.syntax.faults import ConfigError
from support.setup import configure, write_rule

ELSEWHERE = "sources: no\nglobal: {x: '${UNSET}', x: 1}\nrule_flies: []\n"


def section(folder: Path, text: str, *keys: str) -> Http:
    path = folder / "sidecar.yaml"
    path.write_text(ELSEWHERE + text)
    return read_http(str(path), {"PORT": "1", "TOKEN": "hunter2"}, *keys)


def test_both_keys_are_read(tmp_path: Path) -> None:
    text = "http: {listen: 'localhost:${PORT}', token: '${TOKEN}'}\n"
    found = section(tmp_path, text, "listen", "token")
    assert (found.listen, found.token) == (("localhost", 1), Secret("hunter2"))
    assert section(tmp_path, text, "token").listen == Http().listen
    assert section(tmp_path, text, "listen").token is None
    assert section(tmp_path, "", "listen", "token") == Http()


def test_the_token_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hunter2\n")
    found = section(tmp_path, "http: {token_file: token}\n", "token")
    assert found.token == Secret("hunter2")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("http: {listen: '${UNSET}'}", "4:17: error: environment variable UNSET is not set"),
        ("http: {listen: nowhere}", "4:16: error: 'nowhere' is not host:port"),
        ("http: {listen: 12:30}", "4:16: error: unquoted, this is a number in base 60"),
        ("http: {token: ''}", "4:15: error: `token` is empty"),
        ("http: {token_file: none}", "4:20: error: secret file"),
        ("http: {token: a, token_file: b}", "4:18: error: both `token` and `token_file` are set"),
        ("http: 7", "4:7: error: expected keys with values, found a number"),
        ("http: [", "error: not YAML"),
    ],
    ids=str,
)
def test_what_is_wrong_in_it_is_said(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        section(tmp_path, text, "listen", "token")
    assert len(caught.value.faults) == 1
    assert fault in str(caught.value)


def test_what_nobody_asks_for_may_be_wrong(tmp_path: Path) -> None:
    text = "http: {listen: 'localhost:${PORT}', token: '${UNSET}', tokn: 1}\n"
    assert section(tmp_path, text, "listen").listen == ("localhost", 1)


@pytest.mark.parametrize("host", ["a", ""])
def test_the_socket_of_a_host_of_a_fleet_bears_its_name(tmp_path: Path, host: str) -> None:
    named = f", host: {host}" if host else ""
    state = f'state: {{postgresql: {{url: "postgresql://x/y"}}{named}}}\n'
    found = section(tmp_path, state, "admin_socket").admin_socket
    write_rule(tmp_path)
    path = configure(tmp_path)
    path.write_text(path.read_text().replace("state: {path: state.db}\n", state))
    config = load_config(str(path), {})
    assert config.host == (host or config.host) != ""
    assert found == config.admin_socket == f"/var/lib/sidecar/state.db.{config.host}.sock"
    assert section(tmp_path, "state: {path: /x}\n", "admin_socket").admin_socket == "/x.sock"
