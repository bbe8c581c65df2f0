"""Turn analyses into text for a terminal: a header, where the time goes, the slowest layers, one plain sentence."""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from roofline import units
from roofline.costmodel.analysis import Analysis, Row
from roofline.costmodel.timemodel import BOUNDS
from roofline.errors import RooflineError
from roofline.report.bars import COLOURS, Bar, Bars
from roofline.report.rows import LAYER, SUMMARY, layer_row, printable, shorten, summary_row

SORTS = ("time", "order", "flops", "bytes", "name")


def to_text(
    analyses: Sequence[Analysis], *, width: int = 80, top: int = 10, depth: int | None = None, sort: str = "time", bars: bool = False
) -> str:
    """Write *analyses* as plain text *width* columns wide, without colours."""
    return plain(render(analyses, top=top, depth=depth, sort=sort, bars=bars), width)


def plain(content: RenderableType, width: int = 80) -> str:
    """Write what would be printed as text *width* columns wide, without colours and trailing blanks."""
    console = Console(file=io.StringIO(), width=width, no_color=True, force_terminal=False)
    console.print(content)
    text = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def render(
    analyses: Sequence[Analysis], *, top: int = 10, depth: int | None = None, sort: str = "time", bars: bool = False
) -> RenderableType:
    """Return what to print: the whole report of a single analysis, or a table that compares several.

    With *bars*, layers (or the analyses compared) are drawn as bars of what their time is spent on.
    """
    if len(analyses) > 1:
        drawn = (Text(), Text("time, and what it is spent on", style="bold"), _latencies(analyses)) if bars else ()
        return Group(comparison(analyses), *drawn, *_footnotes(analyses))
    return Group(*_report(analyses[0], top=top, depth=depth, sort=sort, bars=bars))


def comparison(analyses: Sequence[Analysis]) -> RenderableType:
    """Put several analyses side by side, one a line, without the columns that are the same in all of them."""
    rows = [summary_row(a) for a in analyses]
    constant = _constant(rows)
    kept = [i for i in range(len(SUMMARY)) if i not in constant]
    title = Text(
        ", ".join(f"{SUMMARY[i]} {rows[0][i]}" if SUMMARY[i] != "model" else rows[0][i] for i in constant) or "comparison", style="bold"
    )
    table = _Fitted([SUMMARY[i] for i in kept], [[row[i] for i in kept] for row in rows], spare=("reached", "memory", "items/s"))
    return Group(title, Text(), table)


def _constant(rows: Sequence[Sequence[str]]) -> list[int]:
    """Find which of the columns that say what was asked are the same in all of *rows*."""
    return [i for i in range(5) if len({row[i] for row in rows}) == 1]


def _latencies(analyses: Sequence[Analysis]) -> Bars:
    """Draw a bar for each analysis, named by what tells it from the others."""
    rows = [summary_row(a) for a in analyses]
    kept = [i for i in range(5) if i not in _constant(rows)]
    named = {2: "batch {}"}
    names = [" ".join(named.get(i, "{}").format(row[i]) for i in kept) for row in rows]
    return Bars([Bar(name, a.seconds_by_part) for name, a in zip(names, analyses, strict=True)])


def _report(analysis: Analysis, *, top: int, depth: int | None, sort: str, bars: bool) -> Iterator[RenderableType]:
    yield _title(analysis)
    yield Text()
    yield _header(analysis)
    yield Text()
    yield Text(analysis.finding(), style="bold")
    yield Text()
    yield Text("time by kind of op", style="bold")
    yield _groups("kind of op", analysis.by_op(), counts=True)
    yield Text()
    rows = analysis.by_layer() if depth is None else analysis.by_module(depth)
    shown = sort_rows(rows, sort)[:top]
    noun = "layers" if depth is None else f"modules at depth {depth}"
    ending = "" if len(shown) == len(rows) else f" of {len(rows)}"
    order = {"time": "slowest", "order": "first", "name": "first by name", "flops": "largest by FLOPs", "bytes": "largest by bytes"}[sort]
    yield Text(f"{order} {noun}: {len(shown)}{ending}", style="bold")
    if bars:
        yield Bars([Bar(row.name, row.split, row.share) for row in shown])
    else:
        yield _groups("layer" if depth is None else "module", shown, counts=False)
    yield from _footnotes([analysis])


def sort_rows(rows: Sequence[Row], by: str) -> list[Row]:
    """Order rows by time, execution order, FLOPs, bytes (largest first) or name."""
    if by not in SORTS:
        raise RooflineError(f"unknown sort {by!r}; use one of {', '.join(SORTS)}")
    if by == "order":
        return list(rows)
    keys: dict[str, Callable[[Row], Any]] = {
        "time": lambda r: -r.seconds,
        "flops": lambda r: -r.cost.flops,
        "bytes": lambda r: -r.cost.bytes,
        "name": lambda r: r.name,
    }
    return sorted(rows, key=keys[by])


def _title(analysis: Analysis) -> Text:
    return Text.assemble(
        (printable(analysis.model), "bold cyan"), " on ", (analysis.hardware.name, "bold cyan"), f" ({analysis.hardware.id})"
    )


def _header(analysis: Analysis) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    for label, value in _facts(analysis):
        grid.add_row(label, value)
    return grid


def _facts(a: Analysis) -> Iterator[tuple[str, Text | str]]:
    low, high = (units.seconds(s) for s in a.interval)
    memory = a.hardware.memory_size
    weights = units.scaled(a.columns.weight_storage_bytes, "B")
    work = f"{units.scaled(a.macs, 'MACs')}, {units.scaled(a.flops, 'FLOPs')} (2 per MAC, and elementwise)"
    fits = "" if a.peak_memory <= memory else "  DOES NOT FIT"
    reached = f"{units.percent(a.lower_bound / a.latency)} of it is reached"
    reached += ", as Winograd convolutions multiply less than is counted" if a.lower_bound > a.latency else ""
    yield "input", ", ".join(a.inputs)
    yield "run as", f"batch {a.batch}, {a.precision}, {a.mode}, {a.layout}" + (f", what if {', '.join(a.changes)}" if a.changes else "")
    yield "model", f"{units.scaled(a.params, '')} parameters, {work}"
    kernels = f"{len(a.predictions)} kernels, {units.significant(a.intensity, 2)} FLOP/byte"
    yield "traffic", f"{units.scaled(a.bytes, 'B')} read and written by {kernels}"
    yield "memory", f"{units.scaled(a.peak_memory, 'B')} at the peak ({weights} weights) of {units.scaled(memory, 'B')}{fits}"
    yield "latency", Text.assemble((units.seconds(a.latency), "bold"), f"  (80 % between {low} and {high}; {a.calibration.status})")
    yield "throughput", f"{units.significant(a.throughput)} items/s"
    yield "limit", f"{units.seconds(a.lower_bound)} datasheet roofline of the same kernels; {reached}"
    yield "bound by", _shares(a)


def _shares(analysis: Analysis) -> Text:
    parts = sorted(BOUNDS, key=lambda b: -analysis.seconds_by_bound[b])
    pieces = [(f"{b} {units.percent(analysis.seconds_by_bound[b] / analysis.latency)}", COLOURS[b]) for b in parts]
    return Text(", ").join(Text(text, style=style) for text, style in pieces)


_WORDS = ("model", "device", "precision", "mode", "kind of op", "layer", "module", "kind", "bound")


def _groups(first: str, rows: Sequence[Row], *, counts: bool) -> RenderableType:
    """Put groups of kernels in a table: kinds of op with their *counts*, or layers with their kind."""
    lines = [(printable(r.name), str(r.kernels) if counts else r.kind, *layer_row(r)[2:]) for r in rows]
    return _Fitted((first, "n" if counts else "kind", *LAYER[2:]), lines, spare=("MACs", "MB"))


@dataclass(frozen=True, slots=True)
class _Fitted:
    """A table as wide as its figures: it leaves out the *spare* columns that do not fit, and shortens the names in the first."""

    header: Sequence[str]
    lines: Sequence[Sequence[str]]
    spare: Sequence[str]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        widths = [max(map(cell_len, column)) + 2 for column in zip(self.header, *self.lines, strict=True)]
        columns = _fitting(self.header, widths, self.spare, options.max_width)
        room = max(options.max_width - sum(widths[i] for i in columns[1:]) - 2, 12)
        table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="dim", show_edge=False)
        for i in columns:
            table.add_column(self.header[i], justify="left" if self.header[i] in _WORDS else "right", no_wrap=True)
        for line in self.lines:
            cells = (shorten(line[0], room), *line[1:])
            table.add_row(*(Text(cells[i], style=COLOURS.get(cells[i], "") if self.header[i] == "bound" else "") for i in columns))
        yield table


def _fitting(header: Sequence[str], widths: Sequence[int], spare: Sequence[str], available: int) -> list[int]:
    """Leave out the columns that matter least until the names fit, or enough of them to tell rows apart."""
    columns = list(range(len(header)))
    for name in spare:
        if name in header and sum(widths[i] for i in columns[1:]) + min(widths[0], 32) > available:
            columns.remove(header.index(name))
    return columns


def _footnotes(analyses: Sequence[Analysis]) -> Iterator[RenderableType]:
    yield Text()
    unknown = analyses[0].unknown
    if unknown:
        listed = ", ".join(f"{name} (x{count}, {units.scaled(size, 'B')})" for name, (count, size) in unknown.items())
        yield Text(f"unknown ops, counted by their bytes only: {listed}", style="bold red")
    else:
        yield Text("unknown ops: none", style="dim")
    yield from (Text(printable(remark)) for remark in dict.fromkeys(remark for a in analyses for remark in a.remarks))
    yield from (Text(note, style="dim") for note in _provenance(analyses))
    too_large = [a for a in analyses if a.peak_memory > a.hardware.memory_size]
    if too_large and len(analyses) > 1:
        listed = ", ".join(f"{a.hardware.id} batch {a.batch} {a.precision}" for a in too_large)
        yield Text(f"does not fit in device memory: {listed}", style="bold red")
    yield from (Text(note, style="dim") for note in _notes(analyses))


def _provenance(analyses: Sequence[Analysis]) -> Iterator[str]:
    """Say once where the parameters of each device come from; of several devices, name those that share a word."""
    sentences = {a.hardware.id: a.calibration for a in analyses}
    if len(sentences) == 1:
        yield from (calibration.provenance for calibration in sentences.values())
        return
    for status in ("calibrated", "borrowed", "uncalibrated"):
        if devices := [device for device, calibration in sentences.items() if calibration.status == status]:
            yield f"{status}: {', '.join(devices)}"


def _notes(analyses: Sequence[Analysis]) -> Iterator[str]:
    """Write every note on a single device, and the first one on each of several."""
    devices = {a.hardware.id: a.hardware for a in analyses}
    for name, device in devices.items():
        shown = device.notes if len(devices) == 1 else device.notes[:1]
        yield from (f"{name}: {note}" for note in shown)
    if len(devices) > 1:
        yield "all notes on a device, and its sources: roofline hardware show NAME"
