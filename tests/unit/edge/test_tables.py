"""Tables for people who read a terminal."""

from edge.tables import table


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert table([("a", "b"), ("long", ""), ("x", "y")]) == "a     b\nlong\nx     y"


def test_what_a_worker_said_cannot_break_a_line_or_order_the_terminal() -> None:
    assert table([("worker", "why"), ("gpu\n1", "\x1b[2Jfake\u202e")]) == "worker  why\ngpu 1    [2Jfake"
