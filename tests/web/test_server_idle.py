"""What the HTTP front costs while nobody asks, counted on a clock that jumps."""

import asyncio

from sidecar.web.server import build_app, serve
from support.web import Jumping, JumpingLoop, web_state


def test_it_wakes_once_a_second() -> None:
    selector = Jumping()

    async def ten_seconds() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(10, stop.set)
        await serve(build_app(web_state()), ("127.0.0.1", 0), stop)

    with asyncio.Runner(loop_factory=lambda: JumpingLoop(selector)) as runner:
        runner.run(ten_seconds())
    assert selector.jumped > 9
    assert selector.waits < 15
