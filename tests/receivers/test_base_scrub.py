"""What is said about a failure is one line that gives nothing away."""

import socket
import ssl

import pytest

from sidecar.receivers.base import is_tls, network_reason, scrub


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("queue full", "queue full"),
        ("no user\r\nhere\x00 \x1b[31mred", "no user here [31mred"),
        ("<ann@example.com>: user unknown", "<***>: user unknown"),
        ("bad password hunter2 for hunter2", "bad password *** for ***"),
        ("unknown: AGFubgBzM2NyM3QtcGFzcw==", "unknown: ***"),
        ("GET /services/T0123/B0123/abcDEF0123456789xyz", "GET ***"),
        ("5.7.1 Relay access denied, see the administrator", None),
    ],
)
def test_what_is_shown_of_a_servers_words(text: str, shown: str | None) -> None:
    assert scrub(text, ["hunter2", ""]) == (shown or text)


def test_of_two_secrets_one_inside_the_other_nothing_is_left() -> None:
    assert scrub("is abc-def", ["abc", "abc-def"]) == "is ***"


def test_it_is_short() -> None:
    assert len(scrub("word " * 1000)) <= 200


def caused(cause: BaseException) -> Exception:
    error = RuntimeError("https://hooks.example/secret")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (ConnectionRefusedError(111, "Connect call failed"), "connection refused"),
        (socket.gaierror(-2, "Name or service not known"), "host name not found"),
        (ExceptionGroup("all", [OSError(113, "x"), OSError(113, "y")]), "no route to host"),
        (ValueError("https://hooks.example/secret"), "connection failed"),
    ],
)
def test_why_a_connection_failed_is_said_in_the_systems_words(
    cause: Exception, reason: str
) -> None:
    assert network_reason(caused(cause)) == reason


def test_an_untrusted_certificate_is_named() -> None:
    error = ssl.SSLCertVerificationError(1, "x")
    error.verify_message = "self-signed certificate"
    assert network_reason(caused(error)) == "certificate not trusted: self-signed certificate"


def test_trouble_with_tls_is_told_from_trouble_below_it() -> None:
    assert is_tls(caused(ssl.SSLError(1, "x")))
    assert not is_tls(caused(ConnectionRefusedError()))


def test_a_circle_of_causes_has_an_end() -> None:
    first, second = ValueError(), ValueError()
    first.__cause__, second.__cause__ = second, first
    assert network_reason(first) == "connection failed"
