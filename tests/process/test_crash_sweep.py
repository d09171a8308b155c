"""kill -9 at every boundary of the step: each line and each alert once, whatever was cut off.

Only a message that was under way may be told twice: nobody can know whether it had arrived.
"""

import signal
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from support.crash import SMALL, Boundary, Life, counted, in_doubt, messages, posted, run, told
from support.setup import append, configure, mail_to, record, slack_to, write_rule
from support.sinks import SlackSink, SmtpSink

# Organisations with an even number fail three times, the others only twice.
ORGANISATIONS = 16
DUE = {f"org_{number}" for number in range(0, ORGANISATIONS, 2)}
# The process dies with a message accepted and no record of that: it is told again.
TOLD_AGAIN = {
    Boundary.AFTER_ANSWER,
    Boundary.BEFORE_OUTCOME,
    Boundary.OUTCOME_INSERTED,
    Boundary.OUTCOME_COMMIT,
}
# What a first step with nothing to count comes by.
WITHOUT_LINES = {
    Boundary.BEFORE_READING,
    Boundary.BEFORE_TRANSACTION,
    Boundary.TRANSACTION_BEGUN,
    Boundary.BEFORE_COMMIT,
}
KILLED = -signal.SIGKILL


def lines() -> Iterator[dict[str, object]]:
    """Yield a log in which every step of the reader brings some alert closer."""
    at = datetime.now(UTC).replace(tzinfo=None) - timedelta(minutes=5)
    for turn in range(3):
        for number in range(ORGANISATIONS):
            status = "failed" if turn < 2 or number % 2 == 0 else "fine"
            at += timedelta(seconds=1)
            yield record(status, f"org_{number}", timestamp=at.isoformat())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_rule(tmp_path, 3)
    append(tmp_path / "app.log", *lines())
    return tmp_path


@pytest.mark.parametrize("boundary", Boundary)
def test_killed_at(boundary: Boundary, folder: Path) -> None:
    state = folder / "state.db"
    doubted: set[str] = set()
    with SlackSink() as slack, SmtpSink() as mail:
        by_mail, server = mail_to(mail.port)
        config = configure(folder, slack_to(slack.url), by_mail, more=server)
        for nth in (1, 3):
            assert run(Life(config, boundary=boundary, nth=nth, budget=SMALL)) == KILLED
            doubted |= in_doubt(state)
        assert run(Life(config)) == 0
        by_slack = posted(slack)
        mailed = Counter(told(str(received)) for received in mail.messages)
        ids = {(told(str(m)), str(m.message["Message-ID"])) for m in mail.messages}
    assert counted(state) == Counter(line["status"] for line in lines())
    assert by_slack.keys() == mailed.keys() == DUE
    assert messages(state) == Counter((how, who) for how in ("slack", "email") for who in DUE)
    assert len(ids) == len(DUE)
    again = (by_slack - Counter(DUE)) + (mailed - Counter(DUE))
    assert again.keys() <= doubted
    assert 2 * (boundary in TOLD_AGAIN) <= again.total() <= 2 * 2


@pytest.mark.parametrize("boundary", sorted(WITHOUT_LINES))
def test_a_first_start_that_is_cut_off_is_followed_by_a_first_start(
    boundary: Boundary, folder: Path
) -> None:
    config = configure(folder, slack_to("http://127.0.0.1:9/"))
    # Else the history that this passes over would be told as if it were new.
    config.write_text(config.read_text().replace("start_at: beginning", "start_at: end"))
    assert run(Life(config, boundary=boundary)) == KILLED
    assert run(Life(config)) == 0
    assert not counted(folder / "state.db")
