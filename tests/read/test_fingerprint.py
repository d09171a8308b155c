"""A copy that was taken while its file was still being read is known by where reading stood."""

import pytest

from sidecar.read.fingerprint import HEAD, TAIL, Marks, ReadAt

TEXT = b"".join(b"line %d\n" % number for number in range(1000))
PASSED = (2000, 4000, 6000)


def holding(data: bytes) -> ReadAt:
    return lambda position, count: data[position : position + count]


@pytest.mark.parametrize(
    ("data", "known"),
    [
        pytest.param(TEXT, True, id="all of it"),
        pytest.param(TEXT[:6000], True, id="up to the last mark"),
        pytest.param(TEXT[:5000], True, id="up to between two marks"),
        pytest.param(TEXT[:1999], False, id="ends before the first mark"),
        pytest.param(TEXT[:5000] + b"x" * 2000, False, id="goes on differently"),
        pytest.param(b"x" + TEXT[1:], False, id="begins differently"),
        pytest.param(b"", False, id="empty"),
    ],
)
def test_a_copy_is_known_by_the_newest_mark_that_it_reaches(data: bytes, *, known: bool) -> None:
    marks = Marks(b"k" * 32)
    for offset in PASSED:
        marks.note(offset, TEXT[:HEAD], TEXT[offset - TAIL : offset])
    assert marks.are_in(holding(data)) == known


def test_without_a_mark_nothing_is_known() -> None:
    assert not Marks(b"k" * 32).are_in(holding(TEXT))
