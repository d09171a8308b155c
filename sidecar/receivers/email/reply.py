"""What an SMTP session's end means: reply codes and broken connections as failures."""

from collections.abc import Iterable
from enum import StrEnum

import aiosmtplib

from sidecar.receivers.base import Failed, FailureKind, Verdict, is_tls, network_reason, scrub

_CREDENTIALS = frozenset({530, 534, 535, 538})
_EXCEEDED_STORAGE = 552


class SmtpPhase(StrEnum):
    """How far a session came; the value is shown to people."""

    CONNECT = "connecting"
    HELLO = "greeting"
    TLS = "STARTTLS"
    LOGIN = "login"
    SENDER = "sender"
    RECIPIENT = "recipient"
    DATA = "data"


# What a 5yz reply refuses, by phase. A refused connection or STARTTLS says nothing about the mail
# and may be over once a person has looked, so these are tried again.
_REFUSED = {
    SmtpPhase.CONNECT: (FailureKind.CONNECT, Verdict.RETRY),
    SmtpPhase.HELLO: (FailureKind.OTHER, Verdict.PARK),
    SmtpPhase.TLS: (FailureKind.TLS, Verdict.RETRY),
    SmtpPhase.LOGIN: (FailureKind.AUTH, Verdict.PARK),
    SmtpPhase.SENDER: (FailureKind.OTHER, Verdict.PARK),
    SmtpPhase.RECIPIENT: (FailureKind.DESTINATION, Verdict.PARK),
    SmtpPhase.DATA: (FailureKind.PAYLOAD, Verdict.PARK),
}


def classify(phase: SmtpPhase, code: int) -> tuple[FailureKind, Verdict]:
    """Return what a reply code refuses in a phase.

    4yz may be tried again, 5yz only once somebody mended something, or a server its mind (RFC 5321
    section 4.2.1; some greylist with 550); 552 to a recipient stands for 452
    (section 4.5.3.1.10); 530, 534, 535 and 538 are about credentials (RFC 4954 section 6).
    """
    if code // 100 != 5 or (phase is SmtpPhase.RECIPIENT and code == _EXCEEDED_STORAGE):  # noqa: PLR2004 - 5yz
        return (FailureKind.SERVER_ERROR, Verdict.RETRY)
    if code in _CREDENTIALS:
        return (FailureKind.AUTH, Verdict.PARK)
    return _REFUSED[phase]


def failure(phase: SmtpPhase, error: Exception, secrets: Iterable[str]) -> Failed:
    """Return what `error` in `phase` means; `secrets` never get into the detail.

    A connection lost or silent in the data phase leaves open whether the mail was accepted.
    """
    ambiguous = phase is SmtpPhase.DATA
    match error:
        case aiosmtplib.SMTPResponseException():
            kind, verdict = classify(phase, error.code)
            return Failed(kind, verdict, f"SMTP {error.code} {_said(error, secrets)} ({phase})")
        case TimeoutError():
            detail = f"no answer in time ({phase})"
            return Failed(FailureKind.TIMEOUT, Verdict.RETRY, detail, ambiguous=ambiguous)
        case OSError():
            kind = _of_connection(phase, error)
            detail = f"{network_reason(error)} ({phase})"
            return Failed(kind, Verdict.RETRY, detail, ambiguous=ambiguous)
        case aiosmtplib.SMTPException() if phase is SmtpPhase.TLS:
            # Never in the clear, and never given up: the offer may have been taken out on the way.
            detail = "the server does not offer STARTTLS, which require_tls asks for"
            return Failed(FailureKind.TLS, Verdict.RETRY, detail)
        case aiosmtplib.SMTPException() if phase is SmtpPhase.LOGIN:
            detail = "the server offers no way of login that we know"
            return Failed(FailureKind.AUTH, Verdict.PARK, detail)
        case ValueError() if phase is SmtpPhase.RECIPIENT:
            detail = "not an address that SMTP can carry"
            return Failed(FailureKind.DESTINATION, Verdict.PARK, detail)
        case _:
            detail = f"the settings cannot be used as they are written ({phase})"
            return Failed(FailureKind.OTHER, Verdict.PARK, detail)


def _of_connection(phase: SmtpPhase, error: OSError) -> FailureKind:
    if is_tls(error) or isinstance(error, FileNotFoundError | PermissionError):
        return FailureKind.TLS  # the certificate, or the file of `tls_ca_file`
    return FailureKind.CONNECT if phase is SmtpPhase.CONNECT else FailureKind.CONNECTION_LOST


def _said(error: aiosmtplib.SMTPResponseException, secrets: Iterable[str]) -> str:
    return scrub(str(error.message), secrets)
