"""What each SMTP reply means, phase by phase."""

import aiosmtplib
import pytest

from sidecar.receivers.base import FailureKind, Verdict
from sidecar.receivers.email.reply import Phase, classify, failure


@pytest.mark.parametrize(
    ("phase", "code", "kind", "verdict"),
    [
        (Phase.CONNECT, 421, "server_error", "retry"),
        (Phase.CONNECT, 554, "connect", "retry"),
        (Phase.HELLO, 504, "other", "dead"),
        (Phase.TLS, 454, "server_error", "retry"),
        (Phase.TLS, 502, "tls", "retry"),
        (Phase.LOGIN, 454, "server_error", "retry"),
        (Phase.LOGIN, 535, "auth", "dead"),
        (Phase.LOGIN, 534, "auth", "dead"),
        (Phase.LOGIN, 538, "auth", "dead"),
        (Phase.LOGIN, 500, "auth", "dead"),
        (Phase.SENDER, 530, "auth", "dead"),
        (Phase.SENDER, 550, "other", "dead"),
        (Phase.SENDER, 452, "server_error", "retry"),
        (Phase.RECIPIENT, 450, "server_error", "retry"),
        (Phase.RECIPIENT, 550, "destination", "dead"),
        (Phase.RECIPIENT, 551, "destination", "dead"),
        (Phase.RECIPIENT, 552, "server_error", "retry"),
        (Phase.RECIPIENT, 530, "auth", "dead"),
        (Phase.DATA, 421, "server_error", "retry"),
        (Phase.DATA, 451, "server_error", "retry"),
        (Phase.DATA, 552, "payload", "dead"),
        (Phase.DATA, 554, "payload", "dead"),
        (Phase.DATA, -1, "server_error", "retry"),
        (Phase.DATA, 250, "server_error", "retry"),
    ],
)
def test_a_refusing_reply(phase: Phase, code: int, kind: str, verdict: str) -> None:
    assert classify(phase, code) == (FailureKind(kind), Verdict(verdict))


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("code", [421, 450, 451, 452, 454])
def test_4yz_is_always_tried_again(phase: Phase, code: int) -> None:
    assert classify(phase, code)[1] is Verdict.RETRY


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize(
    "error",
    [aiosmtplib.SMTPServerDisconnected("x"), aiosmtplib.SMTPReadTimeoutError("x"), TimeoutError()],
    ids=["cut", "silent", "out of time"],
)
def test_only_in_the_data_phase_the_end_is_unknown(phase: Phase, error: Exception) -> None:
    assert failure(phase, error, ()).ambiguous == (phase is Phase.DATA)


def test_a_reply_after_the_mail_is_not_ambiguous() -> None:
    assert not failure(Phase.DATA, aiosmtplib.SMTPDataError(451, "later"), ()).ambiguous


def test_the_servers_words_are_repeated_scrubbed() -> None:
    error = aiosmtplib.SMTPRecipientRefused(550, "5.1.1 <ann@example.com> unknown", "ann")
    found = failure(Phase.RECIPIENT, error, ()).detail
    assert found == "SMTP 550 5.1.1 <***> unknown (recipient)"
