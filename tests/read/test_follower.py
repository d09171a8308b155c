"""The follower on real files: where it starts, what a line is, and what it cannot see."""

import errno
import gzip
import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from sidecar.batch import BytesLost, LookFailed, OverlongLines, Rotated, Rotation
from sidecar.parse.event import MAX_LINE
from sidecar.read.content import Content
from support.read import Reader, Writer, as_bytes, compress, copytruncate, rename

# -- where reading starts


def test_history_is_passed_over_at_the_very_first_start(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "app.log")
    writer.write(3)
    reader = Reader(tmp_path / "*.log", from_beginning=False)
    reader.poll()
    assert reader.lines == []
    assert reader.lines == []
    new = writer.write(2)
    reader.restart()
    reader.poll()
    assert reader.lines == new


def test_the_line_being_written_at_the_first_start_counts(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_bytes(b"old\nhalf")
    reader = Reader(log, from_beginning=False)
    reader.poll()
    log.write_bytes(b"old\nhalf done\n")
    reader.poll()
    assert reader.lines == ["half done"]


@pytest.mark.parametrize("from_beginning", [True, False])
def test_files_born_later_are_read_from_their_beginning(
    tmp_path: Path, *, from_beginning: bool
) -> None:
    reader = Reader(tmp_path / "*.log", from_beginning=from_beginning)
    reader.poll()
    lines = Writer(tmp_path / "app.log").write(3)
    reader.poll()
    assert reader.lines == lines


def test_files_born_while_down_are_read_from_their_beginning(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "*.log", from_beginning=False)
    reader.poll()
    reader.restart()
    lines = Writer(tmp_path / "app.log").write(3)
    reader.poll()
    assert reader.lines == lines


@pytest.mark.parametrize("pattern", ["app.log", "app.log*"])
@pytest.mark.parametrize("down", [False, True], ids=["running", "down"])
def test_old_rotated_files_stay_unread(tmp_path: Path, pattern: str, *, down: bool) -> None:
    for number, age in ((1, 100), (2, 200)):
        old = tmp_path / f"app.log.{number}"
        old.write_bytes(b"history %d\n" % number)
        os.utime(old, (10**9 - age, 10**9 - age))
    zipped = tmp_path / "app.log.3.gz"
    zipped.write_bytes(gzip.compress(b"history 3\n"))
    os.utime(zipped, (10**9 - 300, 10**9 - 300))
    writer = Writer(tmp_path / "app.log")
    writer.write(1)
    reader = Reader(tmp_path / pattern, from_beginning=False)
    reader.poll()
    for _ in range(2):
        lines = writer.write(2)
        rename(writer.path)
        writer.reopen()
        compress(tmp_path / "app.log.2")
        if down:
            reader.restart()
        reader.poll()
        assert reader.lines[-2:] == lines
    assert reader.lines == writer.written[1:]


def test_an_untouched_batch_has_no_rows(tmp_path: Path) -> None:
    Writer(tmp_path / "app.log").write(3)
    reader = Reader(tmp_path / "*.log")
    reader.poll()
    assert not reader.poll().rows


# -- lines


def test_an_unfinished_line_waits_for_its_newline(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "app.log")
    reader = Reader(writer.path)
    writer.raw(b"one\ntw")
    reader.poll()
    assert reader.lines == ["one"]
    reader.restart()
    reader.poll()
    writer.raw(b"o\n")
    reader.poll()
    assert reader.lines == ["one", "two"]


def test_an_unfinished_line_is_finished_in_the_rotated_file(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "app.log")
    reader = Reader(writer.path)
    writer.raw(b"one\ntw")
    reader.poll()
    rename(writer.path)
    (tmp_path / "app.log").write_bytes(b"three\n")
    reader.poll()
    writer.raw(b"o\n")
    reader.settle()
    assert reader.lines == ["one", "three", "two"]


def test_a_last_line_without_newline_counts_when_its_file_is_rotated_and_quiet(
    tmp_path: Path,
) -> None:
    writer = Writer(tmp_path / "app.log")
    reader = Reader(writer.path)
    writer.raw(b"one\ntwo")
    reader.settle()
    assert reader.lines == ["one"]
    rename(writer.path)
    (tmp_path / "app.log").write_bytes(b"three\n")
    reader.settle()
    assert reader.lines == ["one", "three", "two"]
    reader.restart()
    reader.settle()
    assert reader.lines == ["one", "three", "two"]


def test_the_last_line_of_a_deleted_file_counts(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "app.log")
    reader = Reader(writer.path)
    writer.raw(b"one\ntwo")
    reader.poll()
    writer.path.unlink()
    reader.settle()
    assert reader.lines == ["one", "two"]


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("budget", [1, 7, 1 << 20])
def test_an_over_long_line_is_skipped_to_its_newline(
    tmp_path: Path, budget: int, *, restarts: bool
) -> None:
    writer = Writer(tmp_path / "app.log")
    reader = Reader(writer.path)
    writer.raw(b"one\n" + b"x" * (MAX_LINE + 25))
    for _ in range(8):
        reader.poll(budget=budget)
        if restarts:
            reader.restart()
    writer.raw(b"x" * 5 + b"\n" + b"y" * MAX_LINE + b"\nend\n")
    for _ in range(8):
        reader.poll(budget=budget)
    assert reader.lines == ["one", "y" * MAX_LINE, "end"]
    assert OverlongLines(str(writer.path), 1) in reader.events


def test_a_hole_left_by_a_writer_that_does_not_append_is_passed_over(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    reader = Reader(log)
    with log.open("wb", buffering=0) as writer:
        writer.write(b"one\n" * 300)
        reader.poll()
        os.truncate(log, 0)
        writer.write(b"two\n")
        reader.poll()
    assert reader.lines == ["one"] * 300 + ["two"]


def test_a_hole_at_the_end_waits_for_what_fills_it(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_bytes(b"one\n" + b"\0" * 50)
    reader = Reader(log)
    reader.poll()
    with log.open("r+b") as writer:
        writer.seek(4)
        writer.write(b"two\n")
    reader.poll()
    assert reader.lines == ["one", "two"]


def test_a_batch_of_budget_one_holds_one_line(tmp_path: Path) -> None:
    Writer(tmp_path / "app.log").write(3)
    reader = Reader(tmp_path / "app.log")
    assert [c.data.count(b"\n") for c in reader.poll(budget=1).chunks] == [1]
    assert reader.last.lagging == {str(tmp_path / "app.log")}


def test_logs_share_the_budget(tmp_path: Path) -> None:
    for name in ("a.log", "b.log", "c.log"):
        (tmp_path / name).write_bytes(name[0].encode() * 9 + b"\n" + b"y" * 989 + b"\n")
    (tmp_path / "a.log").write_bytes(b"0123456789abcde\n" * 10_000)
    reader = Reader(tmp_path / "*.log")
    batch = reader.poll(budget=30_000)
    read = {c.log[-5:]: 0 for c in batch.chunks}
    for chunk in batch.chunks:
        read[chunk.log[-5:]] += len(chunk.data)
    assert read["b.log"] == read["c.log"] == 1000
    assert 22_000 < read["a.log"] <= 28_000
    assert batch.lagging == {str(tmp_path / "a.log")}
    assert not batch.caught_up


def test_the_bytes_of_unfinished_pieces_are_given_once_more(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_bytes(b"piece\nother\n")
    reader = Reader(log)
    reader.poll()
    (number, row), *_ = reader.rows.items()
    reader.rows[number] = replace(row, open_from=6)
    reader.restart()
    batch = reader.poll()
    assert [(c.file, c.start, c.data) for c in batch.resume] == [(number, 6, b"other\n")]
    assert not batch.chunks
    assert not reader.poll().resume


def test_unfinished_pieces_in_rotated_files_are_given_oldest_first(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "app.log", keeps_open=False)
    reader = Reader(tmp_path / "app.log")
    for piece in (b"first\n", b"second\n", b"third\n"):
        if writer.path.exists():
            rename(writer.path)
        writer.raw(piece)
        reader.poll()
    reader.rows = {number: replace(row, open_from=0) for number, row in reader.rows.items()}
    reader.restart()
    assert [c.data for c in reader.poll().resume] == [b"first\n", b"second\n", b"third\n"]


# -- who is who


def test_hard_links_are_read_once(tmp_path: Path) -> None:
    lines = Writer(tmp_path / "a.log").write(2)
    os.link(tmp_path / "a.log", tmp_path / "b.log")
    reader = Reader(tmp_path / "*.log")
    reader.poll()
    reader.poll()
    assert reader.lines == lines


@pytest.mark.parametrize("down", [False, True], ids=["running", "down"])
def test_two_files_that_begin_alike_are_two(tmp_path: Path, *, down: bool) -> None:
    header = b"#" * 2000 + b"\n"
    for name in ("a.log", "b.log"):
        (tmp_path / name).write_bytes(header + name.encode() + b"\n")
    reader = Reader(tmp_path / "*.log")
    reader.poll()
    if down:
        reader.restart()
    (tmp_path / "a.log").unlink()
    (tmp_path / "c.log").write_bytes(header + b"c.log\n" * 10)
    reader.poll()
    assert sorted(reader.lines)[-12:] == ["a.log", "b.log", *["c.log"] * 10]


def test_two_equal_files_are_both_read(tmp_path: Path) -> None:
    for name in ("a.log", "b.log"):
        (tmp_path / name).write_bytes(b"same\n")
    reader = Reader(tmp_path / "*.log")
    reader.poll()
    assert reader.lines == ["same", "same"]


def test_equal_lines_in_successive_log_files_all_count(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    reader = Reader(log)
    for _ in range(4):
        log.write_bytes(b"same\n")
        reader.poll()
        rename(log)
    reader.settle()
    assert reader.lines == ["same"] * 4


def test_a_link_is_the_log_and_rotation_happens_where_it_leads(tmp_path: Path) -> None:
    pods, containers = tmp_path / "pods", tmp_path / "containers"
    pods.mkdir()
    containers.mkdir()
    (containers / "app.log").symlink_to(pods / "0.log")
    writer = Writer(pods / "0.log")
    reader = Reader(containers / "*.log")
    writer.write(2)
    reader.poll()
    for down in (False, True, False):
        writer.write(1)
        (pods / "0.log").rename(pods / f"0.log.2024010{len(list(pods.iterdir()))}-120000")
        writer.reopen()
        writer.write(2)
        if down:
            reader.restart()
        reader.poll()
    reader.settle()
    assert reader.lines == writer.written
    assert {c.log for c in reader.chunks} == {str(containers / "app.log")}


def test_a_link_that_is_pointed_elsewhere_is_a_rotation(tmp_path: Path) -> None:
    current = tmp_path / "current.log"
    days = [tmp_path / "day1", tmp_path / "day2"]
    reader = Reader(current)
    for day in days:
        day.write_bytes(day.name.encode() + b"\n")
        current.unlink(missing_ok=True)
        current.symlink_to(day)
        reader.poll()
    with days[0].open("ab") as late:
        late.write(b"late\n")
    reader.poll()
    assert reader.lines == ["day1", "day2", "late"]


@pytest.mark.parametrize("down", [False, True], ids=["running", "down"])
def test_a_file_moved_to_another_directory_of_the_glob_goes_on(
    tmp_path: Path, *, down: bool
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    writer = Writer(tmp_path / "a" / "app.log")
    reader = Reader(tmp_path / "**" / "*.log")
    writer.write(2)
    reader.poll()
    if down:
        reader.restart()
    shutil.move(writer.path, tmp_path / "b" / "app.log")
    writer.write(2)
    reader.poll()
    writer.reopen()
    writer.write(2)
    reader.poll()
    assert reader.lines == writer.written


# -- what cannot be seen


def test_links_to_a_folder_that_is_not_there_are_named(tmp_path: Path) -> None:
    containers, pods = tmp_path / "containers", tmp_path / "pods"
    containers.mkdir()
    link = containers / "app.log"
    link.symlink_to(pods / "app" / "0.log")
    reader = Reader(containers / "*.log")
    batch = reader.poll()
    assert batch.problems == [
        f"{link} leads to {pods}/app/0.log, which is not there: mount its folder as well"
    ]
    assert not batch.caught_up
    (pods / "app").mkdir(parents=True)
    (pods / "app" / "0.log").write_text("here\n")
    assert reader.poll().problems == []
    assert reader.lines == ["here"]


def test_the_link_of_a_container_that_is_gone_is_no_problem_beside_others(tmp_path: Path) -> None:
    (tmp_path / "gone.log").symlink_to(tmp_path / "nowhere")
    (tmp_path / "app.log").write_text("here\n")
    reader = Reader(tmp_path / "*.log")
    assert reader.poll().problems == []
    assert reader.lines == ["here"]


def test_a_missing_directory_is_waited_for(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "later" / "*" / "*.log")
    batch = reader.poll()
    assert batch.problems == [f"waiting for {tmp_path / 'later'}: no such directory"]
    assert not batch.caught_up
    (tmp_path / "later" / "deep").mkdir(parents=True)
    lines = Writer(tmp_path / "later" / "deep" / "app.log").write(2)
    assert reader.poll().caught_up
    assert reader.lines == lines


@pytest.mark.parametrize("down", [False, True], ids=["running", "down"])
def test_a_directory_deleted_and_made_again(tmp_path: Path, *, down: bool) -> None:
    logs = tmp_path / "logs"
    reader = Reader(logs / "*.log")
    lines: list[str] = []
    for _ in range(3):
        logs.mkdir()
        writer = Writer(logs / "app.log")
        writer.written = lines
        writer.write(2)
        lines = writer.written
        reader.poll()
        if down:
            reader.restart()
        writer.reopen()
        shutil.rmtree(logs)
        reader.poll()
    assert reader.lines == lines


def test_a_file_that_vanishes_for_a_while_goes_on_where_it_was(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "logs" / "app.log")
    writer.path.parent.mkdir()
    reader = Reader(writer.path)
    writer.write(2)
    reader.poll()
    writer.path.parent.rename(tmp_path / "away")
    reader.restart()
    reader.poll()
    assert {row.state for row in reader.rows.values()} == {"missing"}
    (tmp_path / "away").rename(writer.path.parent)
    writer.write(2)
    reader.poll()
    assert reader.lines == writer.written


def test_a_missing_file_is_forgotten_after_a_week(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "app.log")
    reader = Reader(writer.path)
    writer.write(2)
    reader.poll()
    writer.path.unlink()
    reader.restart()
    reader.poll(seconds=6 * 86_400)
    assert len(reader.rows) == 1
    reader.poll(seconds=2 * 86_400)
    assert not reader.rows


def test_a_log_of_a_glob_is_forgotten_with_its_last_file(tmp_path: Path) -> None:
    """Containers come and go, each with a log of its own."""
    named = tmp_path / "named" / "app.log"
    named.parent.mkdir()
    reader = Reader(tmp_path / "*.log", named)
    for log in (tmp_path / "pod-1.log", tmp_path / "pod-2.log", named):
        Writer(log).write(2)
    reader.poll()
    (tmp_path / "pod-1.log").unlink()
    named.unlink()
    reader.restart()
    found = [reader.poll(seconds=86_400.0).forgotten for _ in range(10)]
    assert [path for paths in found for path in paths] == [str(tmp_path / "pod-1.log")]
    known = {log.path for log in reader.follower._log_files.known_logs()}
    assert known == {str(tmp_path / "pod-2.log"), str(named)}
    Writer(tmp_path / "pod-1.log").write(3)
    assert len(reader.poll().chunks) == 1


def test_a_rotated_file_that_is_still_there_is_not_forgotten(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "app.log")
    reader = Reader(tmp_path / "app*")
    writer.write(2)
    reader.poll()
    rename(writer.path)
    writer.reopen()
    writer.write(1)
    reader.settle()
    for _ in range(30):
        reader.poll(seconds=86_400)
    reader.restart()
    reader.poll(seconds=8 * 86_400)
    assert reader.lines == writer.written


@contextmanager
def no_more_files() -> Iterator[None]:
    """Let every open fail with EMFILE."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("down", [False, True], ids=["running", "down"])
def test_too_many_open_files_is_not_a_missing_file(tmp_path: Path, *, down: bool) -> None:
    writer = Writer(tmp_path / "app.log")
    reader = Reader(tmp_path / "*.log")
    writer.write(2)
    reader.poll()
    rename(writer.path)
    writer.reopen()
    writer.write(2)
    if down:
        reader.restart()
    with no_more_files():
        batch = reader.poll()
    assert batch.problems
    assert not batch.caught_up
    assert LookFailed("EMFILE") in reader.events
    reader.poll()
    assert reader.lines == writer.written
    assert reader.last.caught_up


@pytest.mark.skipif(os.geteuid() != 0, reason="run as root to give up and regain permission")
@pytest.mark.parametrize("down", [False, True], ids=["running", "down"])
def test_permission_denied_for_a_while_loses_nothing(tmp_path: Path, *, down: bool) -> None:
    writer = Writer(tmp_path / "app.log")
    reader = Reader(tmp_path / "*.log")
    writer.write(2)
    reader.poll()
    if down:
        reader.restart()
    writer.write(2)
    (tmp_path).chmod(0)
    os.seteuid(65534)
    try:
        batch = reader.poll()
    finally:
        os.seteuid(0)
    assert not batch.caught_up
    assert not batch.gone
    writer.write(2)
    reader.poll()
    assert reader.lines == writer.written
    assert not reader.bytes_lost


def test_bytes_that_cannot_be_recovered_are_counted(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_bytes(b"0123456789\n" * 10)
    reader = Reader(log)
    reader.poll(budget=22)
    reader.restart()
    log.unlink()
    (tmp_path / "fresh").write_bytes(b"new\n")
    (tmp_path / "fresh").rename(log)
    reader.poll()
    assert reader.lines == ["0123456789"] * 2 + ["new"]
    reader.settle()
    assert BytesLost(str(log), 88) in reader.events


def test_a_copy_taken_just_before_the_truncation_is_not_read_again(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "app.log")
    reader = Reader(tmp_path / "app*")
    writer.write(2)
    reader.poll()
    writer.write(1)
    shutil.copyfile(writer.path, tmp_path / "app.log.1")
    writer.write(1)
    reader.poll()
    os.truncate(writer.path, 0)
    writer.write(1)
    reader.poll()
    reader.settle()
    assert reader.lines == writer.written
    assert reader.events.count(Rotated(Rotation.COPYTRUNCATE)) == 1


def test_a_compressed_file_still_being_written_is_read_as_it_comes(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "app.log")
    reader = Reader(writer.path)
    writer.write(2)
    reader.poll()
    writer.write(5000)
    rename(writer.path)
    writer.reopen()
    zipped = compress(tmp_path / "app.log.1")
    whole = zipped.read_bytes()
    writer.write(3)
    reader.restart()
    for part in (10, len(whole) // 2, len(whole)):
        zipped.write_bytes(whole[:part])
        reader.poll()
    reader.settle()
    assert sorted(reader.lines) == sorted(writer.written)


def test_an_hour_forward_does_not_close_a_file_that_was_just_rotated(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "app.log")
    reader = Reader(writer.path)
    writer.write(1)
    reader.poll()
    writer.path.rename(tmp_path / "elsewhere")
    (tmp_path / "app.log").write_bytes(b"new\n")
    reader.poll()
    reader.poll(seconds=3600)
    writer.raw(b"late\n")
    reader.poll(seconds=-3600)
    assert reader.lines[-1] == "late"


def test_status_tells_position_and_lag(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_bytes(b"0123456789\n" * 10)
    reader = Reader(log)
    (status,) = reader.poll(budget=22).logs
    assert (status.log, status.position, status.size, status.lag_bytes) == (str(log), 22, 110, 88)


def test_no_text_of_the_log_is_in_a_row(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_bytes(as_bytes(["sk_live_secret"]))
    reader = Reader(log)
    reader.poll()
    assert "secret" not in repr(reader.rows)


def test_directories_are_known_before_the_first_poll(tmp_path: Path) -> None:
    assert Reader(tmp_path / "*.log").follower.directories() == {str(tmp_path)}


def test_two_copytruncates_between_two_polls(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "app.log")
    reader = Reader(writer.path)
    writer.write(2)
    reader.poll()
    for _ in range(2):
        writer.write(2)
        copytruncate(writer.path)
    writer.write(1)
    reader.poll()
    reader.settle()
    assert reader.lines == writer.written


def test_the_handle_of_a_deleted_file_without_successor_is_let_go_after_an_hour(
    tmp_path: Path,
) -> None:
    for name in ("gone.log", "here.log"):
        (tmp_path / name).write_bytes(b"line\n")
    reader = Reader(tmp_path / "*.log")
    reader.poll()
    (tmp_path / "gone.log").unlink()
    for _ in range(4 * 59):
        reader.poll(seconds=15)
    assert len(reader.last.logs) == 2
    for _ in range(4 * 2):
        reader.poll(seconds=15)
    assert [status.log for status in reader.last.logs] == [str(tmp_path / "here.log")]


class Failing:
    """An open file on a device or server that fails until it is `healed`."""

    compressed, complete, unreadable = False, True, 0

    def __init__(self, inner: Content, number: int) -> None:
        self.healed = False
        self._inner = inner
        self._error = OSError(number, os.strerror(number))

    def read_at(self, position: int, count: int) -> bytes:
        if not self.healed:
            raise self._error
        return self._inner.read_at(position, count)

    read_lines = read_at

    def known_to(self, size: int) -> int:
        return size

    def holds(self) -> bool:
        return True

    def stat(self) -> os.stat_result:
        return self._inner.stat()

    def close(self) -> None:
        self._inner.close()


def fail(reader: Reader, number: int) -> Failing:
    """Let the handle of the only open file fail from now on."""
    (file,) = reader.follower._log_files.opened()
    assert file.content is not None
    file.content = failing = Failing(file.content, number)
    return failing


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE], ids=["EIO", "ESTALE"])
def test_a_handle_that_fails_is_opened_anew(tmp_path: Path, number: int) -> None:
    writer = Writer(tmp_path / "app.log")
    reader = Reader(tmp_path / "*.log")
    writer.write(2)
    reader.poll()
    fail(reader, number)
    writer.write(2)
    batch = reader.poll()
    assert batch.problems == [f"cannot look at {writer.path}: {os.strerror(number)}; trying again"]
    assert not batch.caught_up
    assert LookFailed(errno.errorcode[number]) in reader.events
    assert reader.poll().caught_up
    assert reader.lines == writer.written
    assert not reader.bytes_lost


def test_a_deleted_file_whose_handle_fails_for_a_while_is_read_on(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "app.log")
    reader = Reader(tmp_path / "*.log")
    writer.write(2)
    reader.poll()
    writer.path.unlink()
    writer.write(2)
    failing = fail(reader, errno.EIO)
    reader.settle()
    assert len(reader.lines) == 2
    failing.healed = True
    reader.poll()
    assert reader.lines == writer.written


# -- between two polls


@pytest.mark.parametrize("down", [False, True], ids=["running", "down"])
@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("pattern", ["*.log", "app*"])
def test_a_file_born_and_rotated_between_two_polls_is_read(
    tmp_path: Path, pattern: str, *, zipped: bool, down: bool
) -> None:
    reader = Reader(tmp_path / pattern)
    reader.poll()
    if down:
        reader.restart()
    writer = Writer(tmp_path / "app.log")
    for _ in range(2):
        writer.write(2)
        rename(writer.path)
        writer.reopen()
    if zipped:
        compress(tmp_path / "app.log.2")
    writer.write(1)
    reader.poll()
    reader.settle()
    assert reader.lines == writer.written


@pytest.mark.parametrize("pattern", ["app.log", "app*"])
def test_a_rotated_file_that_some_looks_miss_is_not_given_up(tmp_path: Path, pattern: str) -> None:
    """Amid a long shift of names a file may be under neither; only a handle would not care."""
    writer = Writer(tmp_path / "app.log")
    reader = Reader(tmp_path / pattern)
    writer.write(4)
    reader.poll(budget=1)
    rename(writer.path)
    writer.reopen()
    writer.write(1)
    (tmp_path / "app.log.1").rename(tmp_path / ".hidden")
    reader.restart()
    for _ in range(7):
        reader.poll()
    (tmp_path / ".hidden").rename(tmp_path / "app.log.2")
    reader.poll()
    assert sorted(reader.lines) == writer.written
    reader.settle()
    assert not reader.bytes_lost


@pytest.mark.parametrize("budget", [300, 5_000])
def test_what_comes_next_is_foreseen(tmp_path: Path, budget: int) -> None:
    for name in ("a", "b"):
        Writer(tmp_path / f"{name}.log").write(2_000)
    reader = Reader(tmp_path / "*.log")
    reader.poll(budget=1)
    for _ in range(5):
        foreseen = list(reader.follower.upcoming(budget))
        assert [chunk.data for chunk in foreseen]
        assert list(reader.follower.upcoming(budget)) == foreseen  # it changes nothing
        found = reader.poll(budget=budget).chunks
        first = {chunk.log: chunk for chunk in reversed(found)}
        assert foreseen[0] == found[0]
        assert {chunk.log for chunk in foreseen} == first.keys()
