"""Tables for people who read a terminal."""

from collections.abc import Sequence


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of equal length in columns as wide as their widest cell.

    What a worker or a model has said may stand in it: line ends and what a terminal obeys become blanks.
    """
    rows = [[plain(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def plain(cell: str) -> str:
    """The cell without line ends and what a terminal obeys."""
    return cell if cell.isprintable() else "".join(each if each.isprintable() else " " for each in cell)
