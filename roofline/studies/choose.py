"""Choose where to run a network: rank device, precision, mode and batch size within limits, and say why others are out."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from roofline import units
from roofline.costmodel.analysis import Analysis
from roofline.costmodel.analyze import check_request
from roofline.costmodel.device import Hardware
from roofline.errors import UnknownNameError, UnsupportedError
from roofline.files import save
from roofline.measurement.table import shown, table
from roofline.studies.cost import money, row, usd_per_million
from roofline.studies.limits import Judgement, Rule, judge
from roofline.studies.rows import csv_text, statuses
from roofline.studies.setting import Setting, Tell, devices, quiet
from roofline.tracing.source import several, trace

if TYPE_CHECKING:
    from roofline.tracing.source import Model

ORDERS = ("cost", "latency", "throughput")
"""What a choice can be ranked by: dollars an item, seconds a batch, or items a second."""

SCHEMA = 1
"""Version of the JSON form."""

NO_PRICE = "no price to rank by (--by latency and --by throughput need none)"


@dataclass(frozen=True, slots=True)
class Option:
    """A device, precision, mode and batch size that keep every limit, with the judgement of each."""

    analysis: Analysis
    judgements: tuple[Judgement, ...]

    @property
    def doubts(self) -> tuple[Judgement, ...]:
        """The limits that lie inside the 80 % interval."""
        return tuple(j for j in self.judgements if j.uncertain)


@dataclass(frozen=True, slots=True)
class Miss:
    """A device, precision and mode that no batch size makes good, *batch* being the nearest; and why.

    *shortfall* adds up by which shares of the limits they are missed; it is infinite where no limit would help.
    """

    hardware: str
    precision: str
    mode: str
    batch: int | None
    reason: str
    shortfall: float = math.inf


@dataclass(frozen=True, slots=True)
class Choice:
    """What keeps the *rules*, the best first *by* an order of ORDERS, and what does not."""

    model: str
    by: str
    rules: tuple[Rule, ...]
    options: tuple[Option, ...]
    misses: tuple[Miss, ...]

    @property
    def best(self) -> Option | None:
        """The first option, None where nothing keeps the limits."""
        return self.options[0] if self.options else None

    def rows(self) -> list[dict[str, Any]]:
        """Return one plain dictionary per option, then one per miss, with the unit in each key."""
        kept = [
            {**row(o.analysis), "peak_memory_bytes": o.analysis.peak_memory, "rank": i, "reason": "; ".join(_doubt(d) for d in o.doubts)}
            for i, o in enumerate(self.options, 1)
        ]
        missed = [
            {"model": self.model, "hardware": m.hardware, "batch": m.batch, "precision": m.precision, "mode": m.mode, "reason": m.reason}
            for m in self.misses
        ]
        return [*kept, *missed]

    def to_json(self, path: str | Path | None = None) -> str:
        """Return options and misses as JSON with a schema version, and write it to *path* if given."""
        half = len(self.options)
        body = {
            "schema": SCHEMA, "model": self.model, "ranked_by": self.by, "limits": {r.quantity.name: r.limit for r in self.rules},
            "options": self.rows()[:half], "misses": self.rows()[half:],
        }  # fmt: skip
        return save(json.dumps(body, indent=1, allow_nan=False) + "\n", path)

    def to_csv(self, path: str | Path | None = None) -> str:
        """Return one CSV line per option and per miss, which has no rank, and write it to *path* if given."""
        return save(csv_text(self.rows(), first=("rank",)), path)

    def lines(self, top: int = 10, width: int = 80) -> Iterator[str]:
        """Write the *top* options as a table of text, what is uncertain about them, and the misses."""
        limits = ", ".join(map(str, self.rules)) or "no limit"
        yield f"{shown(self.model)}: {limits}; best {self.by} first"
        yield ""
        leaders = self.leaders()[:top]
        yield from _table(leaders, width) if leaders else ("nothing keeps these limits",)
        if len(self.options) > len(leaders):
            yield f"each at its best batch size; {len(self.options)} options in all (--json, -o FILE.csv)"
        doubtful = [(i, doubt) for i, option in enumerate(leaders, 1) for doubt in option.doubts]
        yield from [""] * bool(doubtful)
        for i, doubt in doubtful:
            yield from wrap(f"({i}) uncertain: {_doubt(doubt)}", width, subsequent_indent="    ")
        yield from self._out(width)
        yield from [""] * bool(leaders)
        yield from statuses((option.analysis for option in leaders), width)
        if any(option.analysis.precision != "fp32" for option in leaders):
            yield "accuracy is not predicted: check what a lower precision does to it"

    def _out(self, width: int) -> Iterator[str]:
        """Write the nearest miss of each device without any option, and what other devices lack; same reasons on one line."""
        inside = {option.analysis.hardware.id for option in self.options}
        nearest: dict[str, Miss] = {}
        for miss in self.misses:
            if miss.hardware not in nearest or miss.shortfall < nearest[miss.hardware].shortfall:
                nearest[miss.hardware] = miss
        lacking = [miss for miss in self.misses if miss.batch is None and miss.hardware in inside]
        together: dict[str, list[str]] = {}
        for miss in (*(m for m in nearest.values() if m.hardware not in inside), *lacking):
            alone = miss.batch is None or miss.reason == NO_PRICE
            where = miss.hardware if alone else f"{miss.hardware} {miss.precision} {miss.mode} batch {miss.batch}"
            together.setdefault(miss.reason, []).append(where)
        if together:
            yield ""
            yield "out, each where it comes nearest:"
        for reason, members in together.items():
            yield from wrap(f"  {', '.join(dict.fromkeys(members))}: {reason}", width, subsequent_indent="    ", break_on_hyphens=False)

    def leaders(self) -> tuple[Option, ...]:
        """The best option of each device, precision and mode, in order."""
        first: dict[tuple[str, str, str], Option] = {}
        for option in self.options:
            first.setdefault((option.analysis.hardware.id, option.analysis.precision, option.analysis.mode), option)
        return tuple(first.values())


def choose(
    model: "Model",
    hardware: str | Hardware | Sequence[str | Hardware] = "all",
    *,
    limits: Sequence[Rule] = (),
    by: str = "cost",
    batches: Sequence[int] = (1, 2, 4, 8, 16, 32, 64, 128),
    precisions: Sequence[str] = ("fp32",),
    modes: Sequence[str] = ("eager",),
    setting: Setting | None = None,
    image_size: int | None = None,
    tell: Tell = quiet,
) -> Choice:
    """Rank every device, precision, mode and batch size that keeps the *limits*, and say why each other device does not.

    A device that lacks a precision is out, not an error. What does not fit in memory is out. Ranked by cost, a device without a
    price is out.
    """
    if by not in ORDERS:
        raise UnknownNameError(f"unknown order {by!r}; use one of {', '.join(ORDERS)}")
    found = devices(several(hardware))
    batches, precisions, modes = several(batches), several(precisions), several(modes)
    ground = setting or Setting()
    runs = [(mode, precision, *_able(found, batches, precision, mode, ground.layout)) for mode in modes for precision in precisions]
    tell("tracing", 0.0)
    graph = trace(model, image_size=image_size, cache=ground.cache)
    rules = tuple(limits)
    options: list[Option] = []
    misses: list[Miss] = []
    for i, (mode, precision, able, unable) in enumerate(runs):
        tell(f"{mode}, {precision}", (i + 1) / (len(runs) + 1))
        misses += unable
        if not able:
            continue
        priced = replace(ground, batches=batches, precision=precision, mode=mode).price(graph, able)
        for device in able:
            kept, missed = _sort([a for a in priced if a.hardware is device], rules, by)
            options += kept
            misses += missed
    return Choice(graph.name, by, rules, tuple(sorted(options, key=lambda o: _key(o.analysis, by))), tuple(misses))


def _able(
    hardware: Sequence[Hardware], batches: Sequence[int], precision: str, mode: str, layout: str
) -> tuple[list[Hardware], list[Miss]]:
    """Part the devices that can run in *precision* from those that cannot, with what they lack."""
    able: list[Hardware] = []
    unable: list[Miss] = []
    for device in hardware:
        try:
            check_request((device,), batches, (precision,), mode, layout)
            able.append(device)
        except UnsupportedError as error:
            unable.append(Miss(device.id, precision, mode, None, str(error).removeprefix(f"{device.id} ").partition(";")[0]))
    return able, unable


def _sort(analyses: Sequence[Analysis], rules: Sequence[Rule], by: str) -> tuple[list[Option], list[Miss]]:
    """Keep the batch sizes of one device that are good; where none is, say why the nearest is not."""
    judged = [(a, judge(a, rules), _obstacle(a, by)) for a in analyses]
    kept = [Option(a, found) for a, found, obstacle in judged if not obstacle and all(j.passed for j in found)]
    if kept:
        return kept, []
    analysis, found, obstacle = max(judged, key=lambda case: (not case[2], -_shortfall(case[1])))
    reason = obstacle or ", ".join(f"{j.rule.quantity.name} {j.why()}" for j in found if not j.passed)
    shortfall = math.inf if obstacle else _shortfall(found)
    return [], [Miss(analysis.hardware.id, analysis.precision, analysis.mode, analysis.batch, reason, shortfall)]


def _shortfall(judgements: Sequence[Judgement]) -> float:
    return sum(-min(judgement.margin, 0.0) for judgement in judgements)


def _obstacle(analysis: Analysis, by: str) -> str:
    """Say what keeps *analysis* from being an option whatever the limits; empty where nothing does."""
    size = analysis.hardware.memory_size
    if analysis.peak_memory > size:
        return f"does not fit: {units.scaled(analysis.peak_memory, 'B')} of {units.scaled(size, 'B')}"
    return NO_PRICE if by == "cost" and analysis.hardware.price is None else ""


def _key(analysis: Analysis, by: str) -> tuple[float, float]:
    if by == "throughput":
        return -analysis.throughput, analysis.latency
    return (usd_per_million(analysis) or 0.0, analysis.latency) if by == "cost" else (analysis.latency, -analysis.throughput)


def _table(options: Sequence[Option], width: int) -> Iterator[str]:
    header = ("", "device", "precision", "mode", "batch", "latency", "items/s", "$/million", "memory")
    cells = [
        (
            str(i), a.hardware.id, a.precision, a.mode, str(a.batch), units.seconds(a.latency) + ("?" if o.doubts else ""),
            units.significant(a.throughput), money(usd_per_million(a)), units.scaled(a.peak_memory, "B"),
        )
        for i, o in enumerate(options, 1) for a in (o.analysis,)
    ]  # fmt: skip
    told = [i for i, name in enumerate(header) if name in ("precision", "mode")]
    kept = [i for i in range(len(header)) if i not in told or len({line[i] for line in cells}) > 1]
    if constant := [cells[0][i] for i in told if i not in kept]:
        yield f"all in {', '.join(constant)}"
    yield from table(
        [header[i] for i in kept], [[line[i] for i in kept] for line in cells], words=("device", "precision", "mode"), width=width
    )


def _doubt(judgement: Judgement) -> str:
    span, show = judgement.span, judgement.rule.quantity.show
    ends = "" if span is None else f"80 % between {show(span.low)} and {show(span.high)}"
    return f"{judgement.rule.quantity.name} limit {show(judgement.rule.limit)} is inside, {ends}"
