"""What a line is, on blocks of bytes."""

import pytest

from sidecar.parse.event import MAX_LINE
from sidecar.read.content import Framed, frame

OVER = MAX_LINE + 1
END = 10 + OVER


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        pytest.param(b"a\nb\n", Framed(b"a\nb\n", 10, 14), id="whole lines"),
        pytest.param(b"a\nb", Framed(b"a\n", 10, 12), id="an unfinished line waits"),
        pytest.param(b"abc", Framed(b"", 10, 10), id="nothing whole"),
        pytest.param(b"", Framed(b"", 10, 10), id="nothing at all"),
        pytest.param(b"a\r\nb\r\n", Framed(b"a\r\nb\r\n", 10, 16), id="CRLF is the parser's"),
        pytest.param(b"\0\0a\n", Framed(b"a\n", 12, 14), id="leading NULs"),
        pytest.param(b"a\n\0\0b\n", Framed(b"a\n", 10, 12), id="stops before a hole"),
        pytest.param(b"\0\0", Framed(b"", 10, 10), id="a hole at the end waits"),
        pytest.param(b"\xff\xfe\n", Framed(b"\xff\xfe\n", 10, 13), id="invalid UTF-8"),
        pytest.param(b"\xef\xbb\xbfa\n", Framed(b"\xef\xbb\xbfa\n", 10, 15), id="no BOM here"),
        pytest.param(b"x" * OVER, Framed(b"", END, END, skip=True, overlong=1), id="over-long"),
        pytest.param(b"x" * MAX_LINE, Framed(b"", 10, 10), id="as long as allowed"),
    ],
)  # fmt: skip
def test_a_block_in_mid_file(block: bytes, expected: Framed) -> None:
    assert frame(block, 10, skip=False, at_end=True) == expected


def test_a_byte_order_mark_at_the_start_is_passed_over() -> None:
    block = b"\xef\xbb\xbfa\n"
    assert frame(block, 0, skip=False, at_end=True) == Framed(b"a\n", 3, 5)


def test_a_block_of_nothing_but_hole_is_passed_when_more_follows() -> None:
    assert frame(b"\0" * 4, 10, skip=False, at_end=False) == Framed(b"", 14, 14)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (b"rest\na\n", Framed(b"a\n", 15, 17)),
        (b"rest\n", Framed(b"", 15, 15)),
        (b"more", Framed(b"", 10, 14, skip=True)),
    ],
    ids=["ends here", "ends with the block", "goes on"],
)
def test_the_rest_of_an_over_long_line_is_skipped(block: bytes, expected: Framed) -> None:
    assert frame(block, 10, skip=True, at_end=True) == expected


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (b"abc", Framed(b"abc", 10, 13)),
        (b"\0\0", Framed(b"", 12, 12)),
        (b"", Framed(b"", 10, 10)),
        (b"x" * OVER, Framed(b"", END, END, overlong=1)),
    ],
    ids=["a line", "a hole", "nothing", "over-long"],
)
def test_the_end_of_a_file_that_ended_for_good(block: bytes, expected: Framed) -> None:
    assert frame(block, 10, skip=False, at_end=True, final=True) == expected
