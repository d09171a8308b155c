"""Some hundred seeds of the world; `make world` plays as many as one likes."""

import pytest

from world.script import written
from world.world import play

A_TEST = 25


@pytest.mark.parametrize("first", range(0, 200, A_TEST))
def test_whatever_happens_everybody_knows_what_is_so(first: int) -> None:
    wrong = {seed: play(written(seed)) for seed in range(first, first + A_TEST)}
    assert not {f"make world SEED={seed}": faults for seed, faults in wrong.items() if faults}


def test_a_seed_tells_the_same_story_each_time() -> None:
    assert [play(written(seed)) for seed in range(5)] == [play(written(seed)) for seed in range(5)]
