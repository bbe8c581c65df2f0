"""Write advice as text, JSON, CSV or Markdown."""

import json
from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any

import roofline
from roofline import units
from roofline.measurement.table import shown, table
from roofline.studies.advice import Advice, Advised
from roofline.studies.rows import csv_text

SCHEMA = 1
"""Version of the JSON form."""

HEADER = ("change", "time", "saves", "share", "80 % between")
SHOWN_PLACES, SHOWN_FROM = 3, 0.01
"""Kinds of op that are named where a change saves, and the share of the most that one must save to be."""
SHOWN_LAYERS = 10

RULE = (
    "Both times are of one network on one device, so what is wrong in one is mostly wrong in the other: the interval joins the error of "
    "today's time and that of the ratio of the two."
)


def lines(advice: Advice, width: int = 80, top: int = 6) -> Iterator[str]:
    """Write the *top* single steps that help most and as many sets of steps: what each saves where, and what it takes."""
    today = advice.today
    what = f", what if {', '.join(today.changes)}" if today.changes else ""
    yield from wrap(f"what would help {shown(today.model)} most on {today.hardware.name} ({today.hardware.id})", width)
    yield ""
    way = f"batch {today.batch}, {today.precision}, {today.mode}, {today.layout}{what}"
    low, high = (units.seconds(s) for s in today.interval)
    yield from wrap(f"today: {way}: {units.seconds(today.latency)} (80 % between {low} and {high}), {today.bound}-bound", width)
    for title, group in (
        ("one step", [a for a in advice.ranked if a.option.steps == 1]),
        ("steps together", [a for a in advice.ranked if a.option.steps > 1]),
        ("at most", advice.bounds),
    ):
        yield from _section(title, group, width, top)
    if not advice.ranked:
        yield from ("", "nothing that was priced saves time worth telling")
    yield ""
    items = "one item" if today.batch == 1 else f"{today.batch} items"
    yield from wrap(f"time: of {items}. {RULE}", width)
    for label, names in (("no help here", advice.useless), ("does not fit in memory", advice.too_large)):
        if names:
            yield from wrap(f"{label}: {', '.join(names)}", width)


def _section(title: str, group: Sequence[Advised], width: int, top: int) -> Iterator[str]:
    if not group:
        return
    yield ""
    header, *body = table((title, *HEADER[1:]), [_cells(a) for a in group[:top]], width=width)
    yield header
    for line, advised in zip(body, group, strict=False):
        yield line
        for text in (f"saves in {_places(advised.by_kind())}", f"takes {_takes(advised)}"):
            yield from wrap(text, width, initial_indent="  ", subsequent_indent="    ")
    if len(group) > top:
        yield f"and {len(group) - top} more that help less (--top {len(group)})"


def to_json(advice: Advice) -> str:
    """Write everything in base units, with the unit in each key."""
    today = advice.today
    body = {
        "schema": SCHEMA,
        "tool": {"name": "roofline", "version": roofline.__version__},
        "model": today.model,
        "hardware": today.hardware.id,
        "today": {
            "batch": today.batch, "precision": today.precision, "mode": today.mode, "layout": today.layout, "what_if": list(today.changes),
            "latency_seconds": today.latency, "interval_80_seconds": list(today.interval), "bound": today.bound,
            "calibration": today.calibration.status,
        },
        "interval": RULE,
        "ranked": [
            {**row(a), "saved_by_kind_seconds": a.by_kind(), "saved_by_layer_seconds": dict(list(a.by_layer().items())[:SHOWN_LAYERS])}
            for a in (*advice.ranked, *advice.bounds)
        ],
        "no_help": list(advice.useless),
        "too_large": list(advice.too_large),
    }  # fmt: skip
    return json.dumps(body, indent=1, allow_nan=False) + "\n"


def row(advised: Advised) -> dict[str, Any]:
    """Return a change as a plain dictionary, with the unit in each key."""
    after, (low, high) = advised.after, advised.interval
    return {
        "change": advised.option.name,
        "batch": after.batch,
        "precision": after.precision,
        "mode": after.mode,
        "layout": after.layout,
        "what_if": " ".join(after.changes),
        "seconds": advised.seconds,
        "saved_seconds": advised.saved,
        "saved_low_seconds": low,
        "saved_high_seconds": high,
        "saved_share": advised.share,
        "nobody_ships_it": advised.option.bound,
        "latency_seconds": after.latency,
        "bound": after.bound,
        "calibration": after.calibration.status,
        "takes": _takes(advised),
    }


def to_csv(advice: Advice) -> str:
    """Write one line a change, with the unit in each heading."""
    return csv_text([row(a) for a in (*advice.ranked, *advice.bounds)])


def to_markdown(advice: Advice) -> str:
    """Write the ranking as a table."""
    today = advice.today
    heading = f"# What would help {_cell(today.model)} most on {today.hardware.name}\n\n"
    way = f"Today: batch {today.batch}, {today.precision}, {today.mode}, {today.layout}: {units.seconds(today.latency)}.\n\n"
    header = (*HEADER, "saves in", "takes")
    rows = [(*_cells(a), _places(a.by_kind()), _takes(a)) for a in (*advice.ranked, *advice.bounds)]
    body = "".join(f"| {' | '.join(map(_cell, cells))} |\n" for cells in (header, ("---",) * len(header), *rows))
    return f"{heading}{way}{body}\n{RULE}\n"


def _cell(text: str) -> str:
    return shown(text).replace("|", "\\|").replace("<", "&lt;")


def _cells(a: Advised) -> tuple[str, ...]:
    low, high = (units.seconds(s) for s in a.interval)
    return a.option.name, units.seconds(a.seconds), units.seconds(a.saved), units.percent(a.share), f"{low} and {high}"


def _places(saved: Mapping[str, float]) -> str:
    """Name where most is saved, and what it costs elsewhere."""
    most = max(saved.values(), default=0.0)
    gains = [(name, seconds) for name, seconds in saved.items() if seconds > SHOWN_FROM * most][:SHOWN_PLACES]
    worst = min(saved.items(), key=lambda pair: pair[1], default=("", 0.0))
    text = ", ".join(f"{name} {units.seconds(seconds)}" for name, seconds in gains)
    if gains and worst[1] < -0.05 * most:
        text += f"; costs {units.seconds(-worst[1])} more in {worst[0]}"
    return text


def _takes(a: Advised) -> str:
    waits = f"; a batch of {a.after.batch} takes {units.seconds(a.after.latency)}" if a.option.times > 1 else ""
    status = "" if a.after.calibration.status == a.before.calibration.status else f"; parameters {a.after.calibration.status}"
    return "; ".join(a.option.takes) + waits + status
