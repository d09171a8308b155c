"""Times that are off by a time zone are told of, whichever way, and only those."""

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sidecar.batch import LogStatus, ReadBatch
from sidecar.config.load import load_config
from sidecar.core import Core
from sidecar.daemon.skew import Skews
from sidecar.daemon.telemetry import Telemetry
from sidecar.parse.event import Chunk, Late, LogFormat
from sidecar.parse.parser import Parser
from sidecar.store.store import Store
from support.parse import chunk_of

NOW = 1_795_600_000.0  # in November: New York is five hours behind UTC, Berlin one ahead
HOUR = 3600.0
NONE: frozenset[str] = frozenset()


def told(
    late: Sequence[float], *, zone: str = "", every: float = 2.0
) -> list[dict[str, Any] | None]:
    """Return what is sure after each read of a log that is read to its end."""
    skews = Skews()
    found = (
        skews.follow({"a": Late(one, zone)}, NONE, NOW + n * every)
        for n, one in enumerate([0, *late])
    )
    return [one.get("a", {"nothing": "sure"}) for one in found][1:]


UNSURE = {"nothing": "sure"}


@pytest.mark.parametrize(
    ("hours", "zone", "off", "mends"),
    [
        (5, "", "5 h behind the clock", "America/New_York or America/Toronto or America/Bogota"),
        (8, "", "8 h behind the clock", "America/Los_Angeles"),
        (3.5, "", "3.5 h behind the clock", "America/St_Johns"),
        (-1, "", "1 h ahead of the clock", "Europe/Berlin or Europe/Paris or Africa/Lagos"),
        (-5.5, "", "5.5 h ahead of the clock", "Asia/Kolkata"),
        (-10.5, "", "10.5 h ahead of the clock", "Australia/Adelaide"),
        (-14, "", "14 h ahead of the clock", "Etc/GMT-14"),
        (11, "", "11 h behind the clock", "Etc/GMT+11"),
        (-5.75, "", "5.75 h ahead of the clock", "Asia/Kathmandu"),
        (-13.75, "", "13.75 h ahead of the clock", "Pacific/Chatham"),
        (-0.25, "Asia/Kolkata", "0.25 h ahead of the clock", "Asia/Kathmandu"),
        (1, "Europe/Berlin", "1 h behind the clock", "Europe/London"),
        (6, "Europe/Berlin", "6 h behind the clock",
         "America/New_York or America/Toronto or America/Bogota"),
    ],
)  # fmt: skip
def test_three_reads_that_agree_name_the_zone_that_mends_it(
    hours: float, zone: str, off: str, mends: str
) -> None:
    late = [hours * HOUR + wait for wait in (0.2, 7, 50, -3)]
    fine = {"difference": off, "timezone": mends}
    assert told(late, zone=zone) == [UNSURE, UNSURE, fine, fine]


def test_times_that_are_right_are_known_at_once() -> None:
    assert told([1, 5 * HOUR, 5 * HOUR, 3, -3]) == [None, UNSURE, UNSURE, None, None]


@pytest.mark.parametrize(
    "late",
    [
        [5 * HOUR, 4 * HOUR, 5 * HOUR, 4 * HOUR],  # an old log that is copied in
        [5 * HOUR + 61] * 5,  # an hourly job, late as ever
        [900.0] * 5,
        [5.75 * HOUR] * 5,
        [14.5 * HOUR] * 5,
        [-86_400.0] * 5,
        [5 * HOUR, 5 * HOUR, 120, 5 * HOUR],
    ],
    ids=repr,
)
def test_what_does_not_agree_is_nothing_sure(late: list[float]) -> None:
    assert told(late) == [UNSURE] * len(late)


def test_a_burst_is_one_look_at_the_clock() -> None:
    assert told([5 * HOUR] * 9, every=0.1) == [UNSURE] * 9


def test_what_a_log_held_before_it_was_read_to_its_end_says_nothing() -> None:
    skews = Skews()
    for n in range(9):
        assert skews.follow({"a": Late(5 * HOUR)}, frozenset({"a"}), NOW + n) == {}
    for n in (9, 10):  # the last of what it lagged by, and the first behind it
        assert skews.follow({"a": Late(0.0)}, NONE, NOW + n) in ({}, {"a": None})


def line(stamp: float) -> str:
    local = datetime.fromtimestamp(stamp, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return f'{local} INFO WEBHOOK_METRIC: {{"event_type": "signature", "status": "bad"}}\n'


class Log:
    """A host's log as the whole sidecar reads it, with the shipped rules about itself."""

    def __init__(self, folder: Path, timezone: str = "") -> None:
        rules = Path(__file__).parents[2] / "rules" / "sidecar.rules.yaml"
        burst = folder / "burst.rules.yaml"
        burst.write_text(BURST)
        (folder / "sidecar.yaml").write_text(
            f"sources: [{{path: app.log{timezone and f', timezone: {timezone}'}}}]\n"
            f"rule_files: [{rules}, burst.rules.yaml]\n{ROUTE}"
        )
        config = load_config(str(folder / "sidecar.yaml"), {})
        self.zone = timezone
        self.core, self.telemetry = Core(config), Telemetry(config, lambda: NOW)
        self.store = Store.open(str(folder / f"state{timezone.replace('/', '')}.db"))
        self.core.restore(self.store, NOW)

    def read(self, stamp: float | Sequence[float], now: float) -> list[str]:
        """Read bad signatures, stamped with hosts' local times; return what fires."""
        stamps = [stamp] if isinstance(stamp, float) else stamp
        text = "".join(map(line, stamps))
        chunk = Chunk(1, "app.log", LogFormat.AUTO, text.encode(), 0, zone=self.zone)
        batch = ReadBatch(
            chunks=[chunk], logs=[LogStatus("app.log", "app.log", 1, 1, 0, "active", "")]
        )
        step = self.core.step(batch, now)
        self.telemetry.stepped(batch, step, self.core, now=now, commit_seconds=0.0)
        self.core.note(self.telemetry.watch.due_events(now))
        told = self.core.step(ReadBatch(), now)
        said = [*step.transitions, *told.transitions]
        return [f"{one.alert.name} {one.kind.value}" for one in said]

    def burst(self, ahead: float) -> list[str]:
        """Read twelve of them in six seconds."""
        seconds = [NOW + n / 2 for n in range(12)]
        return [one for now in seconds for one in self.read(now + ahead, now)]

    def counter(self, name: str) -> float:
        return self.telemetry.metrics.registry.get_sample_value(f"sidecar_{name}_total") or 0.0


BURST = """\
groups:
  - name: burst
    rules:
      - alert: BadSignatures
        match: [event_type="signature"]
        condition: count() >= 10
        within: 1m
"""
ROUTE = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"


@pytest.mark.parametrize(
    ("hours", "zone"), [(-5, "America/New_York"), (5.5, "Asia/Kolkata"), (1, "Europe/Berlin")]
)
def test_local_time_is_loud_and_the_zone_it_names_mends_it(
    tmp_path: Path, hours: float, zone: str
) -> None:
    off = Log(tmp_path)
    said = off.burst(hours * HOUR)
    assert "SidecarTimesOff fired" in said
    assert ("BadSignatures fired" in said) == (hours > 0)  # west of UTC the minute is long over
    (alert,) = [one for one in off.core.engine.alerts() if one.name == "SidecarTimesOff"]
    assert zone in alert.event["timezone"]
    assert off.counter("future_events") == (12 if hours > 0 else 0)
    mended = Log(tmp_path, zone)
    assert mended.burst(hours * HOUR) == ["BadSignatures fired"]


def test_the_alert_ends_with_the_first_event_that_is_right(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.burst(-5 * HOUR)
    assert log.read(NOW + 60, NOW + 60) == ["SidecarTimesOff resolved"]


Lateness = Callable[[float], float | None]


def mixed(
    late: Lateness, read: Callable[[Sequence[float], float], Any], *, minutes: int = 25
) -> None:
    """Let be read every four seconds what a host that is right wrote, mostly, and what another did.

    `late`: by how much that one's event of a second is late, None where it writes none.
    """
    chance = random.Random(22)
    for second in range(0, 60 * minutes, 4):
        now = NOW + second
        stamps = [now - chance.random()] if chance.random() < 0.7 else []
        if (seconds := late(float(second))) is not None:
            stamps.append(now - seconds)
        if stamps:
            read(chance.sample(stamps, len(stamps)), now)


def sure(late: Lateness, *, minutes: int = 25) -> list[dict[str, Any] | None]:
    """Return what is sure of such a log, each thing once in a row."""
    skews, parser, found = Skews(), Parser(), list[dict[str, Any] | None]()

    def read(stamps: Sequence[float], now: float) -> None:
        chunk = chunk_of("".join(map(line, stamps)))
        parsed = parser.parse(chunk, now=now, wanted=lambda _: False)
        one = parsed.late(now)
        assert one is not None
        for off in skews.follow({"a": one}, NONE, now).values():
            said = off and {name: text for name, text in off.items() if name != "some"}
            if not found or found[-1] != said:
                found.append(said)

    mixed(late, read, minutes=minutes)
    return found


@pytest.mark.parametrize("every", [4, 20, 60], ids=lambda every: f"every {every} s")
@pytest.mark.parametrize(
    ("hours", "off", "zone"),
    [(5, "5 h behind the clock", "America/New_York"),
     (-5.75, "5.75 h ahead of the clock", "Asia/Kathmandu"),
     (-1, "1 h ahead of the clock", "Europe/Berlin")],
)  # fmt: skip
def test_one_of_several_hosts_is_told_of(every: int, hours: float, off: str, zone: str) -> None:
    right, said = sure(lambda second: hours * HOUR + 1.5 if second % every == 0 else None)
    assert right is None
    assert said is not None
    assert (said["difference"], zone in said["timezone"]) == (off, True)


def test_the_alert_says_that_it_is_one_of_several(tmp_path: Path) -> None:
    log, said = Log(tmp_path), list[str]()
    mixed(
        lambda second: None if second % 20 else 5 * HOUR, lambda *one: said.extend(log.read(*one))
    )
    assert [one for one in said if "TimesOff" in one] == ["SidecarTimesOff fired"]
    (alert,) = [one for one in log.core.engine.alerts() if one.name == "SidecarTimesOff"]
    part, _, of = alert.event["some"].partition(" of ")
    assert 0 < int(part) < int(of)
    now = NOW + 1600
    while "SidecarTimesOff resolved" not in log.read(now, now):
        assert now < NOW + 5000
        now += 2.0


def test_the_zone_of_the_source_ends_it(tmp_path: Path) -> None:
    """A log that is all of one host is off from the beginning, and right from one read on."""
    log = Log(tmp_path)
    for second in range(0, 120, 2):
        log.read(NOW + second - 5 * HOUR, NOW + second)
    (alert,) = [one for one in log.core.engine.alerts() if one.name == "SidecarTimesOff"]
    assert "some" not in alert.event
    log.zone = "America/New_York"
    assert log.read(NOW + 130 - 5 * HOUR, NOW + 130) == ["SidecarTimesOff resolved"]


def of_retries(chance: random.Random) -> Lateness:
    return lambda second: None if second % 8 else 2 * HOUR + chance.uniform(-30, 30)


def of_a_queue(chance: random.Random) -> Lateness:
    lag = [HOUR]

    def late(_second: float) -> float:
        lag[0] += chance.gauss(0, 4)
        return lag[0]

    return late


def catching_up(_chance: random.Random) -> Lateness:
    return lambda second: 6 * HOUR - 5 * second


def falling_behind(_chance: random.Random) -> Lateness:
    return lambda second: 3500 + second / 10


def by_batch(_chance: random.Random) -> Lateness:
    return lambda second: None if second % 8 else second % 3600


def by_no_zone(_chance: random.Random) -> Lateness:
    return lambda second: None if second % 8 else 15 * 60.0


@pytest.mark.parametrize(
    "host", [of_retries, of_a_queue, catching_up, falling_behind, by_batch, by_no_zone],
    ids=lambda host: host.__name__,
)  # fmt: skip
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_host_that_is_late_is_off_by_no_zone(
    host: Callable[[random.Random], Lateness], seed: int
) -> None:
    assert sure(host(random.Random(seed)), minutes=60) == [None]
