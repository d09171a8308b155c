"""What each SMTP reply means, phase by phase."""

import aiosmtplib
import pytest

from sidecar.receivers.base import FailureKind, Verdict
from sidecar.receivers.email.send import SmtpPhase, classify, failure


@pytest.mark.parametrize(
    ("phase", "code", "kind", "verdict"),
    [
        (SmtpPhase.CONNECT, 421, "server_error", "retry"),
        (SmtpPhase.CONNECT, 554, "connect", "retry"),
        (SmtpPhase.HELLO, 504, "other", "park"),
        (SmtpPhase.TLS, 454, "server_error", "retry"),
        (SmtpPhase.TLS, 502, "tls", "retry"),
        (SmtpPhase.LOGIN, 454, "server_error", "retry"),
        (SmtpPhase.LOGIN, 535, "auth", "park"),
        (SmtpPhase.LOGIN, 534, "auth", "park"),
        (SmtpPhase.LOGIN, 538, "auth", "park"),
        (SmtpPhase.LOGIN, 500, "auth", "park"),
        (SmtpPhase.SENDER, 530, "auth", "park"),
        (SmtpPhase.SENDER, 550, "other", "park"),
        (SmtpPhase.SENDER, 452, "server_error", "retry"),
        (SmtpPhase.RECIPIENT, 450, "server_error", "retry"),
        (SmtpPhase.RECIPIENT, 550, "destination", "park"),
        (SmtpPhase.RECIPIENT, 551, "destination", "park"),
        (SmtpPhase.RECIPIENT, 552, "server_error", "retry"),
        (SmtpPhase.RECIPIENT, 530, "auth", "park"),
        (SmtpPhase.DATA, 421, "server_error", "retry"),
        (SmtpPhase.DATA, 451, "server_error", "retry"),
        (SmtpPhase.DATA, 552, "payload", "park"),
        (SmtpPhase.DATA, 554, "payload", "park"),
        (SmtpPhase.DATA, -1, "server_error", "retry"),
        (SmtpPhase.DATA, 250, "server_error", "retry"),
    ],
)
def test_a_refusing_reply(phase: SmtpPhase, code: int, kind: str, verdict: str) -> None:
    assert classify(phase, code) == (FailureKind(kind), Verdict(verdict))


def test_4yz_is_always_tried_again() -> None:
    cases = [(phase, code) for phase in SmtpPhase for code in (421, 450, 451, 452, 454)]
    assert [case for case in cases if classify(*case)[1] is not Verdict.RETRY] == []


@pytest.mark.parametrize("phase", SmtpPhase)
@pytest.mark.parametrize(
    "error",
    [aiosmtplib.SMTPServerDisconnected("x"), aiosmtplib.SMTPReadTimeoutError("x"), TimeoutError()],
    ids=["cut", "silent", "out of time"],
)
def test_only_in_the_data_phase_the_end_is_unknown(phase: SmtpPhase, error: Exception) -> None:
    assert failure(phase, error, ()).ambiguous == (phase is SmtpPhase.DATA)


def test_a_reply_after_the_mail_is_not_ambiguous() -> None:
    assert not failure(SmtpPhase.DATA, aiosmtplib.SMTPDataError(451, "later"), ()).ambiguous


def test_the_servers_words_are_repeated_scrubbed() -> None:
    error = aiosmtplib.SMTPRecipientRefused(550, "5.1.1 <ann@example.com> unknown", "ann")
    found = failure(SmtpPhase.RECIPIENT, error, ()).detail
    assert found == "SMTP 550 5.1.1 <***> unknown (recipient)"
