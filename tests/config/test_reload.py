"""When the configuration is read anew, and what becomes of the result."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from sidecar.config.load import load_config
from sidecar.config.reload import CannotTakeOver, Reloaded, Reloader, kept
from sidecar.config.settings import Config
from support.config import ENVIRON, write_config

Action = Callable[[], object]


def nothing() -> None:
    """Let time pass."""


class Story:
    """A reloader on a clock that does, at each wait, what the story says next; then it stops."""

    def __init__(self, folder: Path) -> None:
        self.path = Path(write_config(folder))
        self.stop = asyncio.Event()
        self.taken: list[Config] = []
        self.ended: list[Reloaded] = []
        self.refusals: list[str] = []
        self.mistakes: list[Exception] = []
        self._actions: list[Action] = []
        running = load_config(str(self.path), ENVIRON)
        self.reloader = Reloader(
            running.path,
            ENVIRON,
            running.snapshot,
            clock=self,
            install=self._install,
            report=self.ended.append,
        )

    def now(self) -> float:
        return 7.0

    def monotonic(self) -> float:
        return 7.0

    def busy(self) -> float:
        return 7.0

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        del seconds
        if not self._actions:
            self.stop.set()
        elif not event.is_set():
            self._actions.pop(0)()
        return event.is_set()

    async def play(self, *actions: Action) -> list[float]:
        """Run until the story is over; return `stale_after` of each configuration taken over."""
        self._actions = list(actions)
        await self.reloader.run(self.stop)
        return [config.stale_after for config in self.taken]

    def write(self, seconds: int, rest: str = "") -> Action:
        text = self.path.read_text()
        return lambda: self.path.write_text(f"{text}stale_after: {seconds}s\n{rest}")

    async def _install(self, config: Config) -> None:
        if self.mistakes:
            raise self.mistakes.pop()
        if self.refusals:
            raise CannotTakeOver(self.refusals.pop())
        self.taken.append(config)


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


async def test_what_is_there_at_the_start_is_not_read_again(story: Story) -> None:
    assert await story.play(*[nothing] * 9) == []


async def test_a_change_is_taken_over_once(story: Story) -> None:
    assert await story.play(story.write(5), *[nothing] * 9) == [5.0]


async def test_a_file_that_is_still_being_written_is_waited_for(story: Story) -> None:
    steps = [story.write(5, "rou"), nothing, story.write(6, "rece"), story.write(7)]
    assert await story.play(*steps, *[nothing] * 9) == [7.0]
    assert [done.ok for done in story.ended] == [True]


async def test_a_change_that_is_taken_back_at_once_is_none(story: Story) -> None:
    before = story.path.read_text()
    steps = [story.write(5), nothing, lambda: story.path.write_text(before)]
    assert await story.play(*steps, *[nothing] * 9) == []


async def test_asked_for_it_is_read_though_nothing_has_changed(story: Story) -> None:
    assert len(await story.play(story.reloader.ask, *[nothing] * 9)) == 1


async def test_a_fault_is_told_once_and_not_tried_again(story: Story) -> None:
    assert await story.play(story.write(5, "colour: blue\n"), *[nothing] * 9) == []
    (done,) = story.ended
    assert (done.ok, done.at, len(done.faults)) == (False, 7.0, 1)
    assert "unknown key `colour`" in done.faults[0]
    assert story.reloader.last is done


async def test_its_repair_is_taken_over(story: Story) -> None:
    steps = [story.write(5, "colour: blue\n"), *[nothing] * 3, story.write(6), *[nothing] * 9]
    assert await story.play(*steps) == [6.0]


async def test_what_cannot_be_taken_over_now_is_tried_again(story: Story) -> None:
    story.refusals = ["the disk is busy"]
    assert await story.play(story.write(5), *[nothing] * 9) == [5.0]
    assert [done.faults for done in story.ended] == [("the disk is busy",), ()]


async def test_an_exception_is_the_failure_of_one_reload(story: Story) -> None:
    story.mistakes = [KeyError("of ours")]
    steps = [story.write(1), *[nothing] * 3, story.write(2), *[nothing] * 9]
    assert await story.play(*steps) == [2.0]
    assert [done.faults for done in story.ended] == [(f"{story.path}: KeyError: 'of ours'",), ()]


async def test_what_changes_between_the_start_and_the_first_look_is_seen(story: Story) -> None:
    story.write(5)()
    assert await story.play(*[nothing] * 9) == [5.0]


async def test_what_changes_while_it_is_read_is_seen_by_the_next_look(story: Story) -> None:
    rules = story.path.parent / "a.rules.yaml"

    async def install(config: Config) -> None:
        story.taken.append(config)
        if len(story.taken) == 1:
            rules.write_text(rules.read_text().replace("PaymentFailing", "Later"))

    story.reloader._install = install
    await story.play(story.write(5), *[nothing] * 9)
    assert [config.rules[0].name for config in story.taken] == ["PaymentFailing", "Later"]


async def test_a_file_that_is_gone_is_a_fault(story: Story) -> None:
    assert await story.play(story.path.unlink, *[nothing] * 9) == []
    assert [done.ok for done in story.ended] == [False]


async def test_the_directories_to_watch_are_told(story: Story, tmp_path: Path) -> None:
    looked: list[frozenset[str]] = []
    story.reloader._looked = looked.append
    await story.play(nothing)
    assert looked[-1] == {str(tmp_path)}


def test_what_only_a_restart_can_change_stays_as_it_is(tmp_path: Path) -> None:
    running = load_config(write_config(tmp_path), ENVIRON)
    state = "state: {path: other.db, postgresql: {url: host=db}}"
    rest = f"{state}\nhttp: {{listen: 'localhost:1'}}\nstale_after: 5s"
    loaded = load_config(write_config(tmp_path, rest=rest), ENVIRON)
    config, differing = kept(running, loaded)
    assert differing == ["state.path", "state.postgresql", "http.listen"]
    assert (config.state_path, config.http) == (running.state_path, running.http)
    assert config.state_url is None
    assert config.stale_after == 5.0


def test_nothing_needs_a_restart_when_that_is_the_same(tmp_path: Path) -> None:
    running = load_config(write_config(tmp_path), ENVIRON)
    assert kept(running, running) == (running, [])
