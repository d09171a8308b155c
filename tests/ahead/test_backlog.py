"""When a second process is started and ended."""

from collections.abc import Iterable, Iterator

import pytest

from sidecar.ahead.backlog import LONG_SECONDS, REST_SECONDS, Backlog, ParseAlone, processors
from sidecar.parse.event import Chunk, Parsed
from support.parse import chunk_of

CHUNKS = [chunk_of(b"a\n"), chunk_of(b"b\n")]


class Pretender:
    """Stands where an assistant would, and says of each chunk that it holds nothing."""

    def __init__(self, lost: str = "") -> None:
        self.answered, self.busy = 0, 0.0
        self.lost = lost
        self.closed = False

    def ahead(
        self, chunks: Iterable[Chunk], parse: ParseAlone, now: float, upcoming: Iterable[Chunk] = ()
    ) -> Iterator[tuple[Chunk, Parsed | None]]:
        del parse, now, upcoming
        yield from ((chunk, Parsed()) for chunk in chunks)

    def close(self) -> None:
        self.closed = True


class Starter:
    """Starts pretenders, and remembers them."""

    def __init__(self, lost: str = "") -> None:
        self.started: list[Pretender] = []
        self._lost = lost

    def __call__(self) -> Pretender:
        self.started.append(Pretender(self._lost))
        return self.started[-1]


def results(backlog: Backlog) -> list[Parsed | None]:
    found = list(backlog.ahead(CHUNKS, lambda _chunk, _now: None, 0.0))
    assert [chunk for chunk, _ in found] == CHUNKS
    return [parsed for _, parsed in found]


def test_a_long_backlog_is_parsed_by_two() -> None:
    backlog, start = Backlog(2), Starter()
    backlog.before(LONG_SECONDS, 0.0, start)
    backlog.before(LONG_SECONDS, 1.0, start)
    assert len(start.started) == 1
    assert results(backlog) == [Parsed(), Parsed()]


@pytest.mark.parametrize(
    ("unread", "available"), [(LONG_SECONDS - 0.1, 8), (LONG_SECONDS, 1), (LONG_SECONDS, 1.4)]
)
def test_a_short_one_or_one_processor_is_not(unread: float, available: float) -> None:
    backlog, start = Backlog(available), Starter()
    backlog.before(unread, 0.0, start)
    assert not start.started
    assert results(backlog) == [None, None]


def test_the_second_process_ends_some_time_after_the_backlog() -> None:
    backlog, start = Backlog(2), Starter()
    backlog.before(LONG_SECONDS, 0.0, start)
    backlog.before(0, REST_SECONDS - 0.1, start)
    assert not start.started[0].closed
    backlog.before(0, REST_SECONDS, start)
    assert start.started[0].closed
    assert results(backlog) == [None, None]


def test_a_clock_that_was_set_back_does_not_keep_it() -> None:
    backlog, start = Backlog(2), Starter()
    backlog.before(LONG_SECONDS, 1000.0, start)
    backlog.before(0, 10.0, start)
    assert start.started[0].closed


def test_one_that_is_lost_is_ended_and_not_started_again() -> None:
    backlog, start = Backlog(2), Starter(lost="it has ended")
    backlog.before(LONG_SECONDS, 0.0, start)
    assert results(backlog) == [Parsed(), Parsed()]
    assert start.started[0].closed
    backlog.before(LONG_SECONDS, 1.0, start)
    assert len(start.started) == 1


def test_one_that_cannot_be_started_is_done_without() -> None:
    def start() -> Pretender:
        raise OSError("no more processes")

    backlog = Backlog(2)
    backlog.before(LONG_SECONDS, 0.0, start)
    assert results(backlog) == [None, None]


def test_after_a_reload_another_one_is_started() -> None:
    backlog, start = Backlog(2), Starter()
    backlog.before(LONG_SECONDS, 0.0, start)
    backlog.end()
    backlog.before(LONG_SECONDS, 1.0, start)
    assert [one.closed for one in start.started] == [True, False]


def test_this_machine_has_processors() -> None:
    assert processors() > 0
