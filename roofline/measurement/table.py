"""Turn cells into a table of plain text that fits a width: figures to the right, words to the left, long names shortened."""

import math
from collections.abc import Iterator, Sequence

from roofline import units

WIDTH = 80
SHORTEST = 12
"""Characters of a name that stay, however wide the figures are."""

Cells = Sequence[str]


def table(header: Cells, lines: Sequence[Cells], *, words: Sequence[str] = (), width: int = WIDTH) -> Iterator[str]:
    """Lay out *lines* under *header*; the first column and those in *words* hold words, the others figures."""
    named = [(shown(line[0]), *map(shown, line[1:])) for line in (header, *lines)]
    widths = [max(map(len, column)) for column in zip(*named, strict=True)]
    widths[0] = min(widths[0], max(width - sum(w + 2 for w in widths[1:]), SHORTEST))
    left = [i == 0 or name in words for i, name in enumerate(header)]
    for line in named:
        cells = (shorten(line[0], widths[0]), *line[1:])
        laid = (cell.ljust(w) if is_left else cell.rjust(w) for cell, w, is_left in zip(cells, widths, left, strict=True))
        yield "  ".join(laid).rstrip()


def shown(name: str) -> str:
    """Keep control characters, which a name may hold, from reaching the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)


def shorten(name: str, width: int) -> str:
    """Cut the middle out of a name longer than *width*."""
    if len(name) <= width:
        return name
    tail = (width - 1) * 2 // 3
    return f"{name[: width - 1 - tail]}…{name[-tail:]}"


def share(value: float) -> str:
    """Write a share of one, `-` where there is none."""
    return "-" if math.isnan(value) else units.percent(value)


def factor(value: float) -> str:
    """Write a ratio with two decimals, `-` where there is none."""
    return "-" if math.isnan(value) else f"{value:.2f}"


def figure(value: float, digits: int = 3) -> str:
    """Write a plain number, `-` where there is none."""
    return "-" if math.isnan(value) else units.significant(value, digits)
