"""Tell what moved between saved analyses as text of 80 columns and as Markdown."""

import re
import textwrap
from collections.abc import Callable, Iterator, Sequence

from roofline import units
from roofline.measurement.table import shown, table
from roofline.studies.diff import REASONS, Diff, Pair
from roofline.studies.saved import Saved

WIDTH = 80
TOP = 10
"""Layers that are listed."""

Rows = Sequence[Sequence[str]]


def lines(found: Diff, top: int = TOP) -> Iterator[str]:
    """Write every pair: its figures, why its latency moved, and the kinds of op and the *top* layers that moved."""
    for i, pair in enumerate(found.pairs):
        if i:
            yield ""
        yield from _wrapped(_title(pair))
        for text in _settings(pair):
            yield from _wrapped(text)
        if pair.unchanged:
            yield "nothing moved"
            continue
        yield ""
        yield from table(("", "old", "new", "change"), _figures(pair))
        yield ""
        yield f"why the latency moved by {_signed(pair.seconds)}"
        yield from table(("reason", "time", "change", "what it is"), _reasons(pair), words=("what it is",))
        yield ""
        yield from table(("kind of op", "old", "new", "change", "mostly by"), _kinds(pair), words=("mostly by",))
        yield ""
        yield f"layers that moved most: {min(top, len(pair.moves))} of {len(pair.moves)}"
        yield from table(("layer", "old", "new", "change", "mostly by"), _layers(pair, top), words=("mostly by",))
    yield from _lone(found)


def markdown(found: Diff, top: int = TOP) -> str:
    """Write the same as Markdown."""
    blocks: list[str] = []
    for pair in found.pairs:
        blocks += [f"### {_escape(_title(pair))}", *(_escape(text) for text in _settings(pair))]
        if pair.unchanged:
            blocks.append("Nothing moved.")
            continue
        blocks += [
            _markdown_table(("", "old", "new", "change"), _figures(pair)),
            _markdown_table(("reason", "time", "change", "what it is"), _reasons(pair)),
            _markdown_table(("kind of op", "old", "new", "change", "mostly by"), _kinds(pair)),
            _markdown_table(("layer", "old", "new", "change", "mostly by"), _layers(pair, top)),
        ]
    blocks += [_escape(text) for text in _lone(found)]
    return "\n\n".join(blocks) + "\n"


def _title(pair: Pair) -> str:
    old, new = pair.old, pair.new
    model, device = (_turned(getattr(old, name), getattr(new, name)) for name in ("model", "hardware"))
    ways = (_turned(getattr(old, name), getattr(new, name)) for name in ("precision", "mode", "layout"))
    return f"{model} on {device}, batch {_turned(old.batch, new.batch)}, {', '.join(ways)}"


def _turned(a: object, b: object) -> str:
    return str(a) if a == b else f"{a} -> {b}"


def _settings(pair: Pair) -> Iterator[str]:
    """Say what differs besides what stands in the title."""
    differs = pair.settings
    if "tool" in differs:
        yield f"roofline {pair.old.tool} -> {pair.new.tool}"
    if "what_if" in differs:
        yield f"what-if: {' + '.join(pair.old.what_if) or 'none'} -> {' + '.join(pair.new.what_if) or 'none'}"
    if "status" in differs or "provenance" in differs:
        yield f"old calibration: {pair.old.provenance}"
        yield f"new calibration: {pair.new.provenance}"


def _figures(pair: Pair) -> Rows:
    def row(name: str, read: Callable[[Saved], float], write: Callable[[float], str]) -> tuple[str, ...]:
        a, b = read(pair.old), read(pair.new)
        return (name, write(a), write(b), _percent(a, b))

    def scaled(unit: str) -> Callable[[float], str]:
        return lambda value: units.scaled(value, unit)

    return (
        row("latency", lambda s: s.latency, units.seconds),
        row("80 % from", lambda s: s.low, units.seconds),
        row("80 % to", lambda s: s.high, units.seconds),
        row("items/s", lambda s: s.throughput, units.significant),
        row("limit", lambda s: s.lower_bound, units.seconds),
        row("MACs", lambda s: s.macs, scaled("")),
        row("FLOPs", lambda s: s.flops, scaled("")),
        row("traffic", lambda s: s.bytes, scaled("B")),
        row("parameters", lambda s: s.params, scaled("")),
        row("memory", lambda s: s.peak_memory, scaled("B")),
    )


def _reasons(pair: Pair) -> Rows:
    parts = sorted(pair.parts.items(), key=lambda part: -abs(part[1]))
    return [
        (reason, _signed(seconds), _percent(pair.old.latency, pair.old.latency + seconds), REASONS[reason]) for reason, seconds in parts
    ]


def _kinds(pair: Pair) -> Rows:
    return [
        (kind, units.seconds(a), units.seconds(b), _signed(b - a), max(parts, key=lambda r: abs(parts[r])))
        for kind, (a, b, parts) in pair.by_kind().items()
    ]


def _layers(pair: Pair, top: int) -> Rows:
    return [
        (
            move.name, "-" if move.before is None else units.seconds(move.before.seconds),
            "-" if move.after is None else units.seconds(move.after.seconds), _signed(move.seconds), move.reason,
        )
        for move in pair.moves[:top]
    ]  # fmt: skip


def _lone(found: Diff) -> Iterator[str]:
    for side, saved in (("old", found.only_old), ("new", found.only_new)):
        for each in saved:
            yield f"only in the {side} file: {shown(each.model)} on {each.hardware}, batch {each.batch}, {each.precision}, {each.mode}"


def _signed(seconds: float) -> str:
    return f"{'-' if seconds < 0 else '+'}{units.seconds(abs(seconds))}"


def _percent(a: float, b: float) -> str:
    return "-" if not a else "=" if a == b else f"{100 * (b / a - 1):+.1f} %"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(shown(text), WIDTH, subsequent_indent="  ")


def _markdown_table(header: Sequence[str], body: Rows) -> str:
    rows = [header, ["---"] * len(header), *([_escape(cell) for cell in row] for row in body)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _escape(text: str) -> str:
    """Keep what a name may hold from being read as Markdown or HTML, or from ending the row."""
    return re.sub(r"([\\|\[`*_])", r"\\\1", shown(text)).replace("<", "&lt;").replace("@", "&#64;")
