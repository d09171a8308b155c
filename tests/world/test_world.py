"""The first seeds of the world; `make world` plays as many as one likes."""

import pytest

from world.planted import PLANTED, ROOT
from world.script import Action, Script, written
from world.world import World, play

# The last at which a planted fault shows below a hundred is 53: see `planted`.
SEEDS, A_TEST = 60, 15


@pytest.mark.parametrize("first", range(0, SEEDS, A_TEST))
def test_whatever_happens_everybody_knows_what_is_so(first: int) -> None:
    wrong = {seed: play(written(seed)) for seed in range(first, first + A_TEST)}
    assert not {f"make world SEED={seed}": faults for seed, faults in wrong.items() if faults}


def test_the_end_of_what_was_told_instead_pauses_though_nobody_is_told_instead_any_more() -> None:
    actions = (
        Action(280, "log", ("part", "broken", "c")),
        Action(301, "slack", ("403 page",)),
        Action(394, "edit", {"pauses": "active"}),
        Action(400, "edit", {"fallback": True}),
        Action(949, "log", ("part", "fixed", "c")),
        Action(1198, "edit", {"token": "token-3"}),
        Action(1265, "edit", {"fallback": False}),
        Action(1510, "slack", ("ok",)),
        Action(2200, "renamed", "#pager-3"),
    )
    assert play(Script(200143, actions)) == []


def test_what_is_under_way_by_the_old_configuration_is_tried_at_once_by_the_new() -> None:
    assert play(written(730561)) == []


def test_of_two_copies_of_what_was_begun_the_longer_is_held_against_the_other() -> None:
    actions = (
        Action(182, "log", ("state", "bad", "a")),
        Action(213, "kill", 600.0),
        Action(337, "copy", (4, "old-app.log")),
        Action(360, "copy", (1, "app.log.7")),
        Action(372, "log", ("part", "fixed", "c")),
        Action(496, "copy", (3, "app.log.bak")),
        Action(513, "log", ("state", "good", "a")),
        Action(655, "rotate"),
        Action(714, "compress", (2, ".bz2")),
    )
    assert play(Script(700005, actions)) == []


def test_a_storm_digest_tells_that_it_fires_though_it_is_accepted_meanwhile_that_it_escalated() -> (
    None
):
    actions = (
        Action(2097, "new token", "token-3"),
        Action(2182, "log", ("state", "bad", "c")),
        Action(2307, "slack", ("403 page", "403 page")),
        Action(2698, "log", ("part", "broken", "c")),
        Action(2911, "log", ("part", "broken", "b")),
        Action(2913, "edit", {"critical": "pager"}),
        Action(3001, "log", ("state", "worse", "a")),
        Action(3088, "edit", {"fallback": True}),
        Action(3217, "log", ("state", "worse", "b")),
        Action(3236, "kill", 7200.0),
        Action(3477, "edit", {"team": "crew"}),
    )
    assert play(Script(801807, actions)) == []


@pytest.mark.parametrize(
    "what", ["kill at statement", "disk fails at statement", "disk loses answers at statement"]
)
def test_a_fault_at_each_statement_in_turn_changes_nothing_of_what_is_known(what: str) -> None:
    """An alert fires and ends: some 47 statements, until its end is told."""
    told = (
        Action(10, "log", ("part", "broken", "a")),
        Action(30, "log", ("part", "fixed", "a")),
    )
    wrong = {}
    for number in range(1, 51):
        value = (number, 5.0) if what.startswith("kill") else number
        if faults := play(Script(7, (Action(9, what, value), *told))):
            wrong[number] = faults
    assert not wrong


def test_a_seed_tells_the_same_story_each_time() -> None:
    stories = []
    for _ in range(2):
        world = World(written(1))
        assert world.run() == []
        stories.append(
            {
                (reader, alert): [one.at for one in story]
                for reader, alerts in world.people.heard.items()
                for alert, story in alerts.items()
            }
        )
    assert stories[0] == stories[1] != {}


def test_each_planted_fault_has_its_place_in_the_code_of_today() -> None:
    texts = {plant: (ROOT / "sidecar" / plant.file).read_text() for plant in PLANTED}
    assert not [plant.name for plant, text in texts.items() if text.count(plant.sound) != 1]


def test_the_table_of_planted_faults_says_at_which_seed_each_is_found() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    seeds = {plant: "not yet" if plant.seed is None else plant.seed for plant in PLANTED}
    rows = [f"| {plant.kind} | `{plant.name}` | {seeds[plant]} |" for plant in PLANTED]
    assert "\n".join(rows) in text
