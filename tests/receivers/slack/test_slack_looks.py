"""Slack's message about as it is seen: on a phone and on a desk, by day and by night."""

import shutil
from pathlib import Path

import pytest

from sidecar.notify.model import Notification
from support.chromium import BROWSER, look
from support.notify import notice, notification
from support.preview import example, pages

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(shutil.which(BROWSER) is None, reason=f"{BROWSER} is missing"),
]
LONG = notification(*[notice(org="x" * 200, event={"code": "y" * 400})] * 12, more=3)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [375, 1200])
@pytest.mark.parametrize("told", [example(), LONG], ids=["README's", "a long one"])
def test_all_of_it_is_seen_and_can_be_read(
    told: Notification, width: int, tmp_path: Path, *, dark: bool
) -> None:
    seen = look(pages(told)["slack"], width, dark=dark, folder=tmp_path)
    assert seen == {"wide": width, "dark": dark, "faint": []}
