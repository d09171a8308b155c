"""Whom a mail to an organisation's owner goes to: by a file, by the event, by nobody."""

from pathlib import Path
from typing import Any

import pytest

from sidecar.config.load import load_config
from sidecar.directory.lookup import Directory, Lookup, Owner
from sidecar.notify.cooldowns import TURNED_OFF
from sidecar.notify.model import Notification
from sidecar.receivers.base import Failed, FailureKind, Verdict
from support.config import ENVIRON, write_config
from support.notify import notice, notification

RECEIVERS = """\
receivers:
  - {name: team, slack_configs: [{channel: '#team'}]}
  - name: owner
    fallback: team
    email_configs: [{to: '{{ owner_email }}', from: a@example.com, smarthost: 'mail:25'}]
"""
ROUTE = "route: {receiver: team, routes: [{receiver: owner, group_by: [org_id]}]}"


def about(org: str = "org_1", *emails: Any) -> Notification:
    notices = [notice(org=org, event={"owner_email": email}) for email in emails]
    return notification(*notices, group_labels={"org_id": org} if org else {})


def refused(why: str) -> Failed:
    return Failed(FailureKind.OWNER, Verdict.DEAD, why)


def directory_of(folder: Path, csv: str) -> Directory | None:
    (folder / "owners.csv").write_text(csv)
    path = write_config(
        folder, route=ROUTE, receivers=RECEIVERS, rest="directory: {file: owners.csv}"
    )
    return load_config(path, ENVIRON).directory


FILE = """\
plan,org_id,email,notify
pro,org_1,Jane <jane@example.com>,
pro,org_2,joe@example.com,false
pro,org_3,"a@example.com, b@example.com",true
pro,org_4,ann@example.com,TRUE
"""


@pytest.mark.parametrize(
    ("org", "found"),
    [
        ("org_1", "Jane <jane@example.com>"),
        ("org_2", refused(f"{TURNED_OFF} for this organisation")),
        ("org_3", refused("the address of its owner is not exactly one mailbox")),
        ("org_4", "ann@example.com"),
        ("org_9", refused("the directory does not know it")),
        ("", refused("the alert names no organisation")),
    ],
)
async def test_a_file_says_who_owns_an_organisation(
    tmp_path: Path, org: str, found: str | Failed
) -> None:
    lookup = Lookup(directory_of(tmp_path, FILE), lambda: 0.0)
    assert await lookup(about(org, "event@example.com")) == found


@pytest.mark.parametrize(
    ("emails", "found"),
    [
        (["jane@example.com"], "jane@example.com"),
        (["jane@example.com", "jane@example.com", None], "jane@example.com"),
        ([None], refused("the event has no `owner_email`")),
        (["a@example.com", "b@example.com"], refused("its events name several")),
        *(
            ([text], refused("the address of its owner is not exactly one mailbox"))
            for text in (
                "a@example.com,b@example.com", "j***@example.com\nBcc: x@example.com", "a@b@c",
                "<script>", "a@example.com b@example.com",
            )
        ),
    ],
)  # fmt: skip
async def test_without_a_directory_the_event_says_it(
    emails: list[str | None], found: str | Failed
) -> None:
    assert await Lookup(None, lambda: 0.0)(about("org_1", *emails)) == found


def test_a_file_of_nothing_but_its_columns_knows_nobody(tmp_path: Path) -> None:
    directory = directory_of(tmp_path, "org_id,email\n")
    assert directory == Directory(file={})
    assert Owner.of("Jane <jane@example.com>") == Owner("Jane <jane@example.com>")
