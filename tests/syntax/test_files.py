"""Files that are mounted by themselves: what was replaced outside is not seen, and that is said."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.syntax.faults import Faults
from sidecar.syntax.files import REPLACED, Files, mounted_alone, mountinfo

MOUNTINFO = (
    "1 0 0:1 / / rw,relatime - overlay overlay rw\n"
    "2 1 8:1 /home/me/a\\040log.txt {folder}/a\\040log.txt ro - ext4 /dev/sda1 rw\n"
    "3 1 8:1 /home/me/b.txt {folder}/b.txt ro shared:1 - ext4 /dev/sda1 rw\n"
    "4 1 8:1 /srv {folder}/folder.txt ro - ext4 /dev/sda1 rw\n"
)


@pytest.fixture
def replaced(tmp_path: Path) -> Iterator[str]:
    """A path that leads to a file without a name, as a mount does once that is replaced."""
    old = tmp_path / "sidecar.yaml"
    old.write_text("old: true\n")
    with old.open() as mounted:
        old.unlink()
        yield f"/proc/self/fd/{mounted.fileno()}"


def test_a_file_that_was_replaced_under_its_mount_is_a_fault(replaced: str) -> None:
    faults = Faults()
    assert Files(faults).text(replaced) is None
    [fault] = faults.errors
    assert fault.message == f"{replaced} cannot be read: {REPLACED}"


def test_the_loss_of_its_name_is_a_change(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.yaml"
    path.write_text("a: 1\n")
    with path.open() as mounted:
        files = Files(Faults())
        name = f"/proc/self/fd/{mounted.fileno()}"
        assert files.text(name) == "a: 1\n"
        assert not files.snapshot.differs(files.snapshot.again())
        path.unlink()
        assert files.snapshot.differs(files.snapshot.again())


def test_a_file_that_is_replaced_in_its_folder_is_read_anew(tmp_path: Path) -> None:
    path, new = tmp_path / "a.yaml", tmp_path / "a.yaml.new"
    path.write_text("a: 1\n")
    new.write_text("a: 2\n")
    new.replace(path)
    assert Files(Faults()).text(str(path)) == "a: 2\n"


def test_logs_that_are_mounted_by_themselves_are_found(tmp_path: Path) -> None:
    for name in ("a log.txt", "b.txt", "c.txt"):
        (tmp_path / name).touch()
    (tmp_path / "folder.txt").mkdir()
    info = MOUNTINFO.format(folder=tmp_path)
    assert mounted_alone(f"{tmp_path}/*.txt", info) == [
        f"{tmp_path}/a log.txt",
        f"{tmp_path}/b.txt",
    ]
    assert mounted_alone(f"{tmp_path}/c.txt", info) == []


def test_this_system_says_what_is_mounted() -> None:
    assert " / / " in mountinfo()
    assert mounted_alone("/proc/self/mountinfo", mountinfo()) == []
