"""Write differences as text for a terminal, JSON, CSV and Markdown."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.text import Text

import roofline
from roofline import units
from roofline.report.bars import COLOURS
from roofline.report.differences import SAME, Differences, change, signed
from roofline.report.differences import Group as Side
from roofline.report.export import csv_text, markdown_table, markdown_text
from roofline.report.rows import printable, shorten
from roofline.report.subject import METRICS, Subject
from roofline.report.text import plain
from roofline.studies.cost import MEANING, NO_PRICE

SCHEMA = 1
"""Version of the JSON form of differences."""

LEAST = 16
"""Columns to which a heading is cut where it needs more than its figures."""

Cell = tuple[str, str]
"""A figure, and how it differs from that of the first subject."""


def to_text(differences: Differences, *, width: int = 80) -> str:
    """Write *differences* as plain text *width* columns wide, without colours."""
    return plain(render(differences), width)


def render(differences: Differences) -> RenderableType:
    """Return what to print: for each group its figures, its time by kind of op, and what to make of them."""
    title = Text(f"compared: {printable(differences.conditions)}" if differences.conditions else "compared", style="bold")
    body = [part for group in differences.groups for part in _group(group, differences.costs)]
    return Group(title, *body, *_footnotes(differences.subjects), *(Text(line, style="dim") for line in _prices(differences)))


def _group(group: Side, with_costs: bool) -> Iterator[RenderableType]:
    yield Text()
    if group.condition:
        yield Text(printable(group.condition), style="bold cyan")
    yield _Wide(group.labels, [*figures(group), *(costs(group) if with_costs else ()), *_bounds(group)])
    yield Text()
    yield _Wide(group.labels, kinds(group), "time by kind of op")
    yield Text()
    yield from (Text(printable(sentence)) for sentence in group.sentences())


def figures(group: Side) -> list[tuple[str, list[Cell]]]:
    """Write every figure of METRICS for each subject, and the 80 % interval below the latency."""
    rows: list[tuple[str, list[Cell]]] = []
    for metric in METRICS.values():
        ratios = ["", *(change(group.ratio(metric, s)) for s in group.subjects[1:])]
        cells = [(metric.write(metric.value(s)), ratio) for s, ratio in zip(group.subjects, ratios, strict=True)]
        rows.append((metric.label, cells))
    for place, (label, attribute) in enumerate((("80 % from", "low_seconds"), ("80 % to", "high_seconds")), 1):
        rows.insert(place, (label, [(units.seconds(getattr(s, attribute)), "") for s in group.subjects]))
    return rows


def costs(group: Side) -> list[tuple[str, list[Cell]]]:
    """Write dollars for a million items, and joules an item at the power limit, `-` where a profile lacks the price or the limit."""
    rows: list[tuple[str, list[Cell]]] = []
    for label, attribute in (("$/million", "usd_per_million_items"), ("J/item <=", "joules_per_item_at_most")):
        values: list[float | None] = [getattr(s, attribute) for s in group.subjects]
        ratios = [None if v is None or not values[0] else v / values[0] for v in values]
        figures = ["-" if v is None else units.significant(v) for v in values]
        rows.append((label, [(text, change(ratio) if i else "") for i, (text, ratio) in enumerate(zip(figures, ratios, strict=True))]))
    return rows


def kinds(group: Side) -> list[tuple[str, list[Cell]]]:
    """Write the time of each kind of op for each subject, and what it adds to that of the first."""
    return [
        (
            kind,
            [(units.seconds(s) if s else "-", signed(s - seconds[0]) if abs(s - seconds[0]) > SAME * seconds[0] else "") for s in seconds],
        )
        for kind, seconds in group.kinds()
    ]


def _bounds(group: Side) -> list[tuple[str, list[Cell]]]:
    return [("bound", [(s.bound, units.percent(s.seconds_by_bound.get(s.bound, 0.0) / s.latency_seconds)) for s in group.subjects])]


@dataclass(frozen=True, slots=True)
class _Wide:
    """A table with a column for each subject, the first in every part; it goes on below where the terminal ends."""

    labels: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell]]]
    title: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        names = max(cell_len(name) for name in (self.title, *(name for name, _ in self.rows)))
        for i, part in enumerate(self._parts(options.max_width - names)):
            if i:
                yield Text()
            spare = (options.max_width - names - sum(column.width + 2 for column in part)) // len(part)
            heads = [
                shorten(printable(column.label), max(column.width, min(cell_len(column.label), column.width + spare))) for column in part
            ]
            widths = [max(column.width, cell_len(head)) for column, head in zip(part, heads, strict=True)]
            yield Text(self.title.ljust(names) + "".join(f"  {head:>{w}}" for head, w in zip(heads, widths, strict=True)), style="dim")
            for row, (name, _) in enumerate(self.rows):
                line = Text(name.ljust(names), no_wrap=True)
                for column, width in zip(part, widths, strict=True):
                    line.append(" " * (width - column.width + 2)).append_text(column.cell(row))
                yield line

    def _parts(self, room: int) -> Iterator[list["_Column"]]:
        """Share out the subjects after the first, as many to a part as fit into *room*."""
        columns = [_Column(label, [cells[i] for _, cells in self.rows]) for i, label in enumerate(self.labels)]
        part = columns[:1]
        for column in columns[1:]:
            if len(part) > 1 and sum(c.width + 2 for c in (*part, column)) > room:
                yield part
                part = columns[:1]
            part.append(column)
        yield part


@dataclass(frozen=True, slots=True)
class _Column:
    """The figures of one subject, and beside each its difference."""

    label: str
    cells: Sequence[Cell]

    @property
    def width(self) -> int:
        """Columns of the terminal that it needs, or that its heading needs to be told from others."""
        value, note = self._widths()
        return max(value + note, min(cell_len(self.label), LEAST))

    def cell(self, row: int) -> Text:
        """Write a line of it."""
        value, note = self.cells[row]
        widths = self._widths()
        text = Text(value.rjust(self.width - widths[1]), style=COLOURS.get(value, ""))
        return text.append(note.rjust(widths[1]), style="dim")

    def _widths(self) -> tuple[int, int]:
        note = max(cell_len(note) for _, note in self.cells)
        return max(cell_len(value) for value, _ in self.cells), note + 1 if note else 0


def _footnotes(subjects: Sequence[Subject]) -> Iterator[Text]:
    yield Text()
    unknown = dict.fromkeys(name for s in subjects for name in s.unknown)
    if unknown:
        yield Text(f"unknown ops, counted by their bytes only: {', '.join(map(printable, unknown))}", style="bold red")
    for status in ("calibrated", "borrowed", "uncalibrated"):
        if devices := dict.fromkeys(s.hardware for s in subjects if s.status == status):
            yield Text(f"{status}: {', '.join(devices)}", style="dim")
    large = [s for s in subjects if s.peak_memory_bytes > s.device_memory_bytes]
    if large:
        listed = ", ".join(f"{s.model} on {s.hardware} batch {s.batch} {s.precision}" for s in large)
        yield Text(f"does not fit in device memory: {printable(listed)}", style="bold red")


def _prices(differences: Differences) -> Iterator[str]:
    """Say where the prices come from and what the figures mean; nothing where they are not shown."""
    if differences.costs:
        prices = {s.hardware: s.price or NO_PRICE for s in differences.subjects}
        yield from (f"{printable(device)}: {price}" for device, price in prices.items())
        yield from MEANING


def to_json(differences: Differences) -> str:
    """Write every figure, ratio and sentence as one JSON object, with a schema version and the unit in each key."""
    body = {
        "schema": SCHEMA,
        "tool": {"name": "roofline", "version": roofline.__version__},
        "compared": differences.axis,
        "groups": [
            {
                "condition": group.condition,
                "against": group.labels[0],
                "sentences": group.sentences(),
                "kinds": {kind: dict(zip(group.labels, seconds, strict=True)) for kind, seconds in group.kinds()},
            }
            for group in differences.groups
        ],
        "subjects": [
            {**row, "seconds_by_bound": dict(s.seconds_by_bound), "seconds_by_kind": dict(s.kinds), "unknown_ops": list(s.unknown)}
            for row, s in zip(differences.rows(), (s for group in differences.groups for s in group.subjects), strict=True)
        ],
    }
    return json.dumps(body, indent=1, allow_nan=False) + "\n"


def to_csv(differences: Differences) -> str:
    """Write one line per subject, with the unit in each heading."""
    return csv_text(differences.rows())


def to_markdown(differences: Differences) -> str:
    """Write for each group its sentences, its figures, and folded away its time by kind of op."""
    title = f"## Compared{': ' if differences.conditions else ''}{markdown_text(differences.conditions)}\n"
    notes = "".join(f"- {markdown_text(line)}\n" for line in _prices(differences))
    return title + "".join(_markdown_group(group, differences.costs) for group in differences.groups) + (f"\n{notes}" if notes else "")


def _markdown_group(group: Side, with_costs: bool) -> str:
    heading = f"\n### {markdown_text(group.condition)}\n" if group.condition else ""
    said = "".join(f"- {markdown_text(sentence)}\n" for sentence in group.sentences())
    rows = [*figures(group), *(costs(group) if with_costs else ()), *_bounds(group)]
    main = markdown_table(["", *group.labels], [_markdown_row(name, cells) for name, cells in rows])
    times = markdown_table(["kind of op", *group.labels], [_markdown_row(name, cells) for name, cells in kinds(group)])
    return f"{heading}\n{said}\n{main}\n<details><summary>time by kind of op</summary>\n\n{times}\n</details>\n"


def _markdown_row(name: str, cells: Sequence[Cell]) -> list[str]:
    return [name, *(f"{value} ({note})" if note else value for value, note in cells)]
