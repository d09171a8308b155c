"""What the HTTP front costs while nobody asks, counted on a clock that jumps."""

import asyncio
import selectors

from sidecar.web.server import build_app, serve
from support.web import web_state


class Jumping(selectors.PollSelector):
    """Waits for no timer, and counts how often and how long it would have."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = 0
        self.jumped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found and timeout:
            self.waits += 1
            self.jumped += timeout
        return found


class JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self, selector: Jumping) -> None:
        super().__init__(selector)
        self._jumping = selector

    def time(self) -> float:
        return super().time() + self._jumping.jumped


def test_it_wakes_once_a_second() -> None:
    selector = Jumping()

    async def ten_seconds() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(10, stop.set)
        await serve(build_app(web_state()), "127.0.0.1", 0, stop)

    with asyncio.Runner(loop_factory=lambda: JumpingLoop(selector)) as runner:
        runner.run(ten_seconds())
    assert selector.jumped > 9
    assert selector.waits < 15
