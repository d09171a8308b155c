"""What rules share of a block of events."""

from sidecar.rules.verdict import _Block


def test_what_looks_alike_is_put_in_the_order_of_its_own_events() -> None:
    block, codes = _Block([1.0, 2.0, 3.0]), (b"\x00", b"\x01")
    assert list(block.merged(codes, ([0], [1]))) == [0, 1]
    assert list(block.merged(codes, ([2], [1]))) == [1, 0]
