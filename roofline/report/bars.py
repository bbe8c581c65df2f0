"""Draw times as bars in a terminal: each in blocks of what the time is spent on, which add up to it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from roofline import units
from roofline.report.rows import printable, shorten

COLOURS: Mapping[str, str] = {"compute": "green", "memory": "blue", "overhead": "red", "occupancy": "magenta"}

LETTERS: Mapping[str, str] = {"compute": "#", "memory": "=", "occupancy": "-", "overhead": "."}
"""What stands for each part where there is no colour, in the order of a bar."""

LEAST, MOST = 10, 32
"""Columns that names take: at least, and at most."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A name, its seconds parted without overlap, and its share of the whole time (None: it is no part of one)."""

    name: str
    split: Mapping[Any, float]
    share: float | None = None

    @property
    def seconds(self) -> float:
        """The whole length."""
        return sum(self.split.values())


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars on one scale, one a line, as wide as the terminal: blocks in colour, or characters where there is none."""

    bars: Sequence[Bar]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        solid = console.is_terminal and console.color_system is not None and not console.no_color and not options.ascii_only
        names = [printable(bar.name) for bar in self.bars]
        times = [units.seconds(bar.seconds) for bar in self.bars]
        shares = ["" if bar.share is None else units.percent(bar.share) for bar in self.bars]
        columns = [max(map(len, column), default=0) for column in (times, shares)]
        room = min(max(map(cell_len, names), default=0), MOST, max(options.max_width * 2 // 5, LEAST))
        space = max(options.max_width - room - sum(width + 2 for width in columns if width) - 2, 1)
        longest = max((bar.seconds for bar in self.bars), default=0.0) or 1.0
        yield key(self.bars, solid=solid)
        for bar, name, time, share in zip(self.bars, names, times, shares, strict=True):
            short = shorten(name, room)
            figures = (f"{cell:>{width}}" for cell, width in zip((time, share), columns, strict=True) if width)
            line = Text("  ".join((short + " " * (room - cell_len(short)), *figures, "")), no_wrap=True)
            line.append_text(blocks(bar, max(round(space * bar.seconds / longest), 1), solid=solid))
            yield line


def key(bars: Sequence[Bar], *, solid: bool) -> Text:
    """Name the parts that some of *bars* has, each beside its block."""
    found = [part for part in LETTERS if any(bar.split[part] > 0 for bar in bars)]
    return Text("   ").join(Text.assemble(_block(part, 1, solid=solid), f" {part}") for part in found)


def blocks(bar: Bar, length: int, *, solid: bool) -> Text:
    """Draw *bar* with *length* characters, shared out among its parts."""
    ends = [round(length * end / bar.seconds) if bar.seconds else 0 for end in accumulate(bar.split[part] for part in LETTERS)]
    return Text().join(_pieces(ends, solid=solid))


def _pieces(ends: Sequence[int], *, solid: bool) -> Iterator[Text]:
    start = 0
    for part, end in zip(LETTERS, ends, strict=True):
        yield _block(part, end - start, solid=solid)
        start = end


def _block(part: str, length: int, *, solid: bool) -> Text:
    return Text(("\N{FULL BLOCK}" if solid else LETTERS[part]) * length, style=COLOURS[part])
