"""Whatever is lost, and in whatever order: each transaction of each owner is made once."""

from contextlib import closing, suppress
from enum import Enum, auto
from typing import NamedTuple

import psycopg
import pytest
from hypothesis import given, settings, strategies as st

from sidecar.secret import Secret
from sidecar.store.pgtables import JUDGE
from sidecar.store.postgresql import PostgreSql
from sidecar.store.schema import Statement, StoreMoved, StoreUnavailable
from support.daemon import until
from support.postgresql import PostgreSql as Server
from support.wire import Loss, Wire, through, wire_to

pytestmark = pytest.mark.process


class Fault(Enum):
    NONE = auto()
    IDLE_CUT = auto()  # the connections end between two transactions
    COMMIT_LOST = auto()
    ANSWER_LOST = auto()
    ANSWER_LOST_AND_AWAY = auto()
    ANSWER_LOST_AND_GONE = auto()  # made by a server that is followed by one without it
    LAST_GONE = auto()  # the last transaction of all, acknowledged, is lost with its server
    FOLLOWED = auto()  # another process writes for the same owner
    FOLLOWED_IN_DOUBT = auto()
    FOLLOWED_UNSEEN = auto()  # no connection ended


class Made(NamedTuple):
    """A transaction that the database has: for whom, and what it added to each one's text."""

    owners: tuple[str, ...]
    text: str


# The hosts of a fleet with what each owns: two that read and the judge; one that is alone.
SEVERAL = {"a": ("a",), "b": ("b",), "judge": (JUDGE,)}
ALONE = {"a": ("a", JUDGE)}


class Game:
    """A text in the database for each owner, which every transaction of that one makes longer."""

    def __init__(self, server: Server, wire: Wire, owners: dict[str, tuple[str, ...]]) -> None:
        self.url, self.wire, self.owners = server.fresh(), wire, owners
        self.made: list[Made] = []
        self.behind = set[str]()  # who is to find that the database is not what they left
        self.ours = {who: self._begun(who) for who in owners}
        for who, database in self.ours.items():
            empty = [(owner, owner.encode()) for owner in owners[who]]
            begin = "INSERT INTO meta (owner, row_key, name, value) VALUES (?, ?, 'log', '')"
            database.write([(begin, empty)])

    def _begun(self, who: str) -> PostgreSql:
        owners = self.owners[who]
        database = PostgreSql(Secret(through(self.wire, self.url)), owners[0])
        if len(owners) > 1:
            until(lambda: database.takes_all(frozenset()), "it has all")
        else:
            database.attend()
        return database

    def play(self, number: int, who: str, fault: Fault) -> None:
        made = Made(self.owners[who], f"{number},")
        statements: list[Statement] = [
            ("UPDATE meta SET value = value || ? WHERE owner = ?",
             [(made.text, owner) for owner in made.owners])
        ]  # fmt: skip
        self._find_out(who, statements)
        self._happens(who, fault, statements, made)
        self._find_out(who, statements)
        self._until_written(who, statements)
        if fault is not Fault.ANSWER_LOST_AND_AWAY:
            self.made.append(made)
        self.check()

    def check(self) -> None:
        with psycopg.connect(self.url) as asking:
            found: dict[str, str] = dict(asking.execute("SELECT owner, value FROM meta").fetchall())
        assert found == {
            owner: "".join(made.text for made in self.made if owner in made.owners)
            for owners in self.owners.values() for owner in owners
        }  # fmt: skip

    def _find_out(self, who: str, statements: list[Statement]) -> None:
        """Begin anew, if that is due; nothing is written before."""
        if who not in self.behind:
            return
        with pytest.raises(StoreMoved):
            self._until_written(who, statements)
        self.check()
        self.ours[who].close()
        self.ours[who] = self._begun(who)
        self.behind.remove(who)

    def _happens(self, who: str, fault: Fault, statements: list[Statement], made: Made) -> None:
        wire = self.wire
        self.ours[who].attend()  # on a connection that is there: else nothing is lost on it
        if fault in (Fault.COMMIT_LOST, Fault.FOLLOWED_IN_DOUBT):
            wire.loses = Loss.COMMIT
        elif fault in (Fault.ANSWER_LOST, Fault.ANSWER_LOST_AND_AWAY, Fault.ANSWER_LOST_AND_GONE):
            wire.loses = Loss.ANSWER
        if fault in (
            Fault.ANSWER_LOST_AND_AWAY, Fault.ANSWER_LOST_AND_GONE, Fault.FOLLOWED_IN_DOUBT
        ):  # fmt: skip
            wire.is_down = True
            with pytest.raises(StoreUnavailable):
                self.ours[who].write(statements)
            wire.is_down = False
        if fault in (Fault.ANSWER_LOST_AND_AWAY, Fault.ANSWER_LOST_AND_GONE):
            self.made.append(made)
        if fault in (Fault.IDLE_CUT, Fault.LAST_GONE, Fault.FOLLOWED):
            wire.cut()
        if fault is Fault.ANSWER_LOST_AND_GONE:
            self._lose(self.made.pop())
        elif fault is Fault.LAST_GONE and self.made:
            lost = self.made.pop()
            self._lose(lost)
            self.behind |= {one for one, owners in self.owners.items() if owners == lost.owners}
        elif fault in (Fault.FOLLOWED, Fault.FOLLOWED_IN_DOUBT):
            self._follow(who, writes=fault is Fault.FOLLOWED)
        elif fault is Fault.FOLLOWED_UNSEEN:
            with psycopg.connect(self.url) as asking:
                taken = b"UPDATE sidecar_guard SET writer = 'x' WHERE name = %s"
                asking.execute(taken, (self.owners[who][-1],))
            self.behind.add(who)

    def _lose(self, lost: Made) -> None:
        """Be a server that lacks the last transaction."""
        with psycopg.connect(self.url) as asking:
            asking.execute("SELECT pg_advisory_xact_lock(1)")
            owners = [*lost.owners]
            asking.execute(
                "UPDATE meta SET value = left(value, -length(%s)) WHERE owner = ANY(%s)",
                (lost.text, owners),
            )
            asking.execute(
                "UPDATE sidecar_guard SET step = step - 1 WHERE name = ANY(%s)", (owners,)
            )

    def _follow(self, who: str, *, writes: bool) -> None:
        """Be another process, which takes what is judged, or all that a host has."""
        owner = self.owners[who][-1]
        with closing(PostgreSql(Secret(self.url), owner)) as other:
            other.attend()  # its number may be now what ours would be
            if writes:
                other.write([("UPDATE meta SET value = value || 'x' WHERE owner = ?", [(owner,)])])
                self.made.append(Made((owner,), "x"))
        self.behind.add(who)

    def _until_written(self, who: str, statements: list[Statement]) -> None:
        def written() -> bool:
            with suppress(StoreUnavailable):
                self.ours[who].write(statements)
                return True
            return False

        until(written, "the transaction is made")

    def close(self) -> None:
        for database in self.ours.values():
            database.close()


@pytest.mark.parametrize("owners", [SEVERAL, ALONE], ids=["several", "alone"])
@settings(max_examples=25)
@given(data=st.data())
def test_whatever_is_lost_each_transaction_of_each_owner_is_made_once_in_its_order(
    server: Server, owners: dict[str, tuple[str, ...]], data: st.DataObject
) -> None:
    turn = st.tuples(st.sampled_from([*owners]), st.sampled_from(Fault))
    turns = data.draw(st.lists(turn, min_size=1, max_size=8))
    with wire_to(server.folder) as wire, closing(Game(server, wire, owners)) as game:
        for number, (who, fault) in enumerate(turns):
            game.play(number, who, fault)
