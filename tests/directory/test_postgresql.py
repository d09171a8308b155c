"""A directory in Debian's PostgreSQL, with tables like the real host's users and user_orgs."""

import time
from collections.abc import Iterator
from dataclasses import replace
from uuid import UUID

import pytest

from sidecar.directory.lookup import (
    FAILED_SECONDS,
    KNOWN_SECONDS,
    LIMIT_SECONDS,
    Directory,
    Lookup,
    PostgreSql,
)
from sidecar.notify.cooldowns import TURNED_OFF
from sidecar.notify.model import Notification
from sidecar.receivers.base import Failed
from sidecar.secret import Secret
from support.notify import notification
from support.postgresql import PostgreSql as Server, postgresql, silent_server

pytestmark = pytest.mark.process

TABLES = """
CREATE TYPE org_roles AS ENUM ('owner', 'admin', 'developer', 'business_user');
CREATE TABLE users (id uuid PRIMARY KEY, full_name text, email text, billing_email text);
CREATE TABLE orgs (id uuid PRIMARY KEY, name text NOT NULL, prem_status text);
CREATE TABLE user_orgs (
    user_id uuid REFERENCES users, org_id uuid REFERENCES orgs, role org_roles NOT NULL,
    user_email text, is_paid boolean DEFAULT false, mail boolean DEFAULT true,
    PRIMARY KEY (user_id, org_id)
);
"""
QUERY = (
    "SELECT coalesce(u.billing_email, u.email) AS email, o.mail AS notify FROM user_orgs o"
    " JOIN users u ON u.id = o.user_id WHERE o.org_id = %(org_id)s AND o.role = 'owner'"
)


def org(number: int) -> str:
    return str(UUID(int=0x1000 + number))


def of(number: int) -> Notification:
    return notification(group_labels={"org_id": org(number)})


def person(number: int, email: str, *, role: str = "owner", where: int, mail: bool = True) -> str:
    user, of_ = UUID(int=number), org(where)
    return f"""
        INSERT INTO users VALUES ('{user}', 'N', '{email}', NULL);
        INSERT INTO orgs VALUES ('{of_}', 'O', 'pro') ON CONFLICT DO NOTHING;
        INSERT INTO user_orgs VALUES ('{user}', '{of_}', '{role}', '{email}', true, {mail});
    """  # noqa: S608 - a test's own words


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgresql() as server:
        server.execute(TABLES)
        server.execute(
            person(1, "owner@example.com", where=1)
            + person(2, "dev@example.com", role="developer", where=1)
            + person(3, "off@example.com", where=2, mail=False)
            + person(4, "one@example.com", where=3)
            + person(5, "two@example.com", where=3)
            + person(6, "no address", where=4)
            + person(7, "dev@example.com", role="admin", where=5)
        )
        yield server


def asking(server: Server, query: str = QUERY, clock: list[float] | None = None) -> Lookup:
    at = clock or [0.0]
    database = PostgreSql(url=Secret(server.url), query=query)
    return Lookup(Directory(postgresql=database), lambda: at[0])


def why(found: str | Failed) -> str:
    assert isinstance(found, Failed)
    return found.detail


async def test_the_owner_is_found_by_the_organisation(server: Server) -> None:
    lookup = asking(server)
    assert await lookup(of(1)) == "owner@example.com"
    assert why(await lookup(of(2))) == f"{TURNED_OFF} for this organisation"
    assert why(await lookup(of(3))) == "the directory knows several owners"
    assert why(await lookup(of(4))) == "the address of its owner is not exactly one mailbox"
    assert why(await lookup(of(5))) == "the directory does not know it"
    assert why(await lookup(of(6))) == "the directory does not know it"


async def test_an_organisation_is_a_value_and_never_a_part_of_the_query(server: Server) -> None:
    told = notification(group_labels={"org_id": "'; DROP TABLE users; --"})
    assert "invalid input syntax for type uuid" in why(await asking(server)(told))
    assert await asking(server)(of(1)) == "owner@example.com"


async def test_a_query_can_only_read(server: Server) -> None:
    query = "DELETE FROM user_orgs WHERE org_id = %(org_id)s RETURNING user_email"
    assert "read-only transaction" in why(await asking(server, query)(of(1)))


async def test_a_query_that_is_none_is_a_reason(server: Server) -> None:
    found = why(await asking(server, "SELEKT %(org_id)s")(of(1)))
    assert found.startswith("the directory cannot be asked: syntax error")


async def test_a_query_that_takes_long_ends(server: Server) -> None:
    started = time.monotonic()
    found = why(await asking(server, "SELECT pg_sleep(60), %(org_id)s::text")(of(1)))
    assert time.monotonic() - started < LIMIT_SECONDS + 1
    assert "statement timeout" in found or "did not answer within 2 s" in found


async def test_what_was_found_is_kept_for_a_while_and_so_is_a_failure(server: Server) -> None:
    clock = [1.0]
    lookup = asking(server, clock=clock)
    assert await lookup(of(1)) == "owner@example.com"
    server.stop()
    try:
        assert await lookup(of(1)) == "owner@example.com"
        clock[0] += KNOWN_SECONDS
        assert why(await lookup(of(1))).startswith("the directory cannot be asked: ")
    finally:
        server.start()
    assert why(await lookup(of(1))).startswith("the directory cannot be asked: ")
    clock[0] += FAILED_SECONDS
    assert await lookup(of(1)) == "owner@example.com"


async def test_a_server_that_is_silent_is_a_reason_within_two_seconds() -> None:
    with silent_server() as url:
        database = PostgreSql(url=Secret(url), query=QUERY)
        started = time.monotonic()
        found = why(await Lookup(Directory(postgresql=database), lambda: 0.0)(of(1)))
        assert time.monotonic() - started < LIMIT_SECONDS + 1
    assert found == "the directory did not answer within 2 s" or "timeout" in found


async def test_no_reason_holds_the_password(server: Server) -> None:
    server_url = server.url.replace("nobody@", "nobody2:hunter2@")
    database = PostgreSql(url=Secret(server_url), query=QUERY)
    lookup = Lookup(Directory(postgresql=database), lambda: 0.0)
    found = why(await lookup(of(1)))
    assert "does not exist" in found
    assert "hunter2" not in found
    lookup.use(Directory(postgresql=replace(database, url=Secret(server.url))))
    assert await lookup(of(1)) == "owner@example.com"
