"""How closely a run reads after the one before it crashed."""

import pytest

from sidecar.daemon.pacing import (
    A_SLICE,
    BUDGETS,
    LINES,
    SLICES,
    TRIES,
    USUAL,
    Trial,
    condemned,
    trial_after,
    with_done,
    with_try,
)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(None, Trial(), id="a clean end, or none"),
        pytest.param(Trial(), Trial(SLICES, BUDGETS[USUAL]), id="an unclean end"),
        pytest.param(Trial(SLICES, 9), Trial(SLICES, BUDGETS[USUAL]), id="between two slices"),
        pytest.param(
            Trial(SLICES, 9, {A_SLICE: 1}), Trial(LINES, BUDGETS[SLICES]), id="in a slice"
        ),
        pytest.param(Trial(LINES, 9), Trial(LINES, BUDGETS[SLICES]), id="between two lines"),
        pytest.param(
            Trial(LINES, 9, {"7:0": 1}), Trial(LINES, BUDGETS[SLICES], {"7:0": 1}), id="at a line"
        ),
    ],
)
def test_a_start_reads_more_closely_after_each_unclean_end(
    before: Trial | None, after: Trial
) -> None:
    assert trial_after(before) == after


@pytest.mark.parametrize(
    ("trial", "taken", "at_end", "after"),
    [
        pytest.param(Trial(SLICES, 100), 40, False, Trial(SLICES, 60), id="more to go"),
        pytest.param(Trial(SLICES, 100), 100, False, Trial(), id="past what was suspected"),
        pytest.param(Trial(LINES, 100), 1, True, Trial(), id="nothing left to read"),
        pytest.param(
            Trial(LINES, 100, {"1:0": 1, "2:0": 2}), 40, False, Trial(LINES, 60, {"2:0": 2}),
            id="a line that was begun before is over, another is not",
        ),
    ],
)  # fmt: skip
def test_a_committed_step_clears_what_it_took(
    trial: Trial, taken: int, after: Trial, *, at_end: bool
) -> None:
    assert with_done(trial, ["1:0"], taken, at_end=at_end) == after


def test_a_line_is_given_up_at_the_third_crash_and_no_earlier() -> None:
    trial = Trial(LINES, 100)
    for _ in range(TRIES):
        assert not condemned(trial, ["7:0"])
        trial = trial_after(with_try(trial, ["7:0"]))
    assert condemned(trial, ["7:0", "7:40"]) == {"7:0"}


def test_lines_of_other_logs_read_in_between_do_not_save_the_guilty_one() -> None:
    trial = trial_after(with_try(Trial(LINES, 100), ["7:0"]))
    trial = with_done(with_try(trial, ["8:0"]), ["8:0"], 10, at_end=False)
    assert trial.tries == {"7:0": 1}
