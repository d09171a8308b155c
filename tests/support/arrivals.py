"""What both sinks are made of: arrivals a test can wait for, and TLS for localhost."""

import ssl
import threading
from pathlib import Path
from typing import Generic, TypeVar

# A certificate for localhost, its own authority, valid from 2020 to 2100.
CERTIFICATE = Path(__file__).parents[1] / "tls" / "localhost.crt"
_KEY = CERTIFICATE.with_suffix(".key")
_T = TypeVar("_T")


class Arrivals(Generic[_T]):
    """What arrived so far; a test waits for it without sleeping."""

    def __init__(self) -> None:
        self.items: list[_T] = []
        self._arrived = threading.Condition()

    def add(self, item: _T) -> None:
        with self._arrived:
            self.items.append(item)
            self._arrived.notify_all()

    def wait_for(self, count: int, timeout: float) -> None:
        with self._arrived:
            enough = self._arrived.wait_for(lambda: len(self.items) >= count, timeout)
        assert enough, f"{len(self.items)} of {count} arrived within {timeout:g} s"


def server_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, _KEY)
    return context
