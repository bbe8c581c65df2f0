"""Scale a network in width, depth and resolution, alone and together, and see what each way costs on devices."""

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any

from roofline import units
from roofline.costmodel.analysis import Analysis
from roofline.costmodel.device import Hardware
from roofline.errors import RooflineError, UnknownNameError
from roofline.files import save
from roofline.studies.rows import csv_text, fitted, statuses
from roofline.studies.setting import Setting, Tell, devices, quiet
from roofline.tracing.own import BASES, DEPTHS, WIDTHS, scaled_name
from roofline.tracing.spec import IMAGE_SIZES

SCHEMA = 1
"""Version of the JSON form."""

ALPHA, BETA, GAMMA = 1.2, 1.1, 1.15
"""Growth of depth, width and resolution with each step of compound scaling: Tan and Le, EfficientNet: Rethinking Model Scaling for
Convolutional Neural Networks, 2019, section 3.3, https://arxiv.org/abs/1905.11946."""

PUBLISHED = (
    (1.0, 1.0, 224), (1.0, 1.1, 240), (1.1, 1.2, 260), (1.2, 1.4, 300), (1.4, 1.8, 380), (1.6, 2.2, 456), (1.8, 2.6, 528), (2.0, 3.1, 600),
)  # fmt: skip
"""Width, depth and pixels of EfficientNet-B0 to B7, which follow no formula to the digit: efficientnet_builder.py of the authors,
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet, as quoted in timm/models/efficientnet.py."""

WAYS = ("compound", "width", "depth", "resolution", "published")
"""Ways of scaling. One step of each but the last is meant to double the MACs; `published` are EfficientNet-B0 to B7 themselves."""

BASE = "base"
"""What stands for the way of a network that is not scaled."""

PIXELS = 4
"""Image sizes are rounded to multiples of it, as the published ones are."""


@dataclass(frozen=True, slots=True)
class Mix:
    """How *base* is scaled: the multipliers of its *width* and *depth*, and the pixels a side; *way* and *step* say where from."""

    base: str
    width: float
    depth: float
    image_size: int
    way: str = "mix"
    step: float = 0.0

    @property
    def name(self) -> str:
        """The name under which this network is known everywhere; its image size is no part of it."""
        return self.base if (self.width, self.depth) == (1, 1) else scaled_name(self.base, self.width, self.depth)

    @property
    def buildable(self) -> bool:
        """Tell whether anybody would build it: multipliers and image size are within what `roofline.tracing.own` builds."""
        inside = WIDTHS[0] <= self.width <= WIDTHS[1] and DEPTHS[0] <= self.depth <= DEPTHS[1]
        return inside and self.image_size in IMAGE_SIZES


@dataclass(frozen=True, slots=True)
class Scaled:
    """A scaled network with its analysis on each device."""

    mix: Mix
    analyses: tuple[Analysis, ...]

    @property
    def first(self) -> Analysis:
        """The analysis on the first device; what is counted is the same in all."""
        return self.analyses[0]


@dataclass(frozen=True, slots=True)
class Scaling:
    """Scaled networks side by side, and those that were left out."""

    title: str
    networks: tuple[Scaled, ...]
    left_out: tuple[Mix, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def side_by_side(self) -> tuple[Scaled, ...]:
        """The networks of the largest step that was built in every way; none where ways cannot be compared."""
        steps: dict[float, list[Scaled]] = {}
        for network in self.networks:
            if network.mix.step:
                steps.setdefault(network.mix.step, []).append(network)
        most = max(map(len, steps.values()), default=0)
        return tuple(max((step, members) for step, members in steps.items() if len(members) == most)[1]) if most > 1 else ()

    def rows(self) -> list[dict[str, Any]]:
        """Return one plain dictionary per network and device, with the unit in each key."""
        return [_row(network, analysis) for network in self.networks for analysis in network.analyses]

    def to_json(self, path: str | Path | None = None) -> str:
        """Return every network on every device as JSON with a schema version, and write it to *path* if given."""
        left = [{"way": m.way, "step": m.step, "width": m.width, "depth": m.depth, "image_size": m.image_size} for m in self.left_out]
        body = {"schema": SCHEMA, "title": self.title, "networks": self.rows(), "left_out": left, "notes": list(self.notes)}
        return save(json.dumps(body, indent=1, allow_nan=False) + "\n", path)

    def to_csv(self, path: str | Path | None = None) -> str:
        """Return one CSV line per network and device, and write it to *path* if given."""
        return save(csv_text(self.rows()), path)

    def lines(self, width: int = 80) -> Iterator[str]:
        """Write a table, one network a line, with its latency on each device."""
        yield from wrap(self.title, width)
        yield ""
        if self.networks:
            names = [a.hardware.id for a in self.networks[0].analyses]
            header = ("way", "step", "w", "d", "px", "params", "MACs", "moved", "FLOP/B", "memory", *names)
            told = {"way": len({network.mix.way for network in self.networks}) > 1, "step": any(n.mix.step for n in self.networks)}
            cells = [_cells(network) for network in self.networks]
            kept = [i for i, name in enumerate(header) if told.get(name, True)]
            spare = ("FLOP/B", "moved", "memory")
            yield from fitted([header[i] for i in kept], [[line[i] for i in kept] for line in cells], spare=spare, width=width)
        yield from self._per_mac(width)
        if self.left_out:
            yield ""
            yield f"not built, beyond {WIDTHS[1]:g} times the width, {DEPTHS[1]:g} times the depth or {IMAGE_SIZES.stop - 1} pixels:"
            yield from (f"  {m.way}, step {m.step:g}: w {m.width:g}, d {m.depth:g}, {m.image_size} px" for m in self.left_out)
        if self.notes:
            yield ""
            yield from (line for note in self.notes for line in wrap(note, width))
        yield from statuses((a for network in self.networks for a in network.analyses), width)

    def _per_mac(self, width: int) -> Iterator[str]:
        """Write what a GMAC takes on each device by the way of scaling, the cheapest on the first device first."""
        if not (networks := sorted(self.side_by_side, key=lambda n: n.first.latency / n.first.macs)):
            return
        yield ""
        yield f"time for each GMAC at step {networks[0].mix.step:g}, the least on {networks[0].first.hardware.id} first"
        rows = [(n.mix.way, *(units.seconds(a.latency / a.macs * 1e9) for a in n.analyses)) for n in networks]
        yield from fitted(("way", *(a.hardware.id for a in networks[0].analyses)), rows, width=width)


def scale(
    base: str,
    hardware: str | Hardware | Sequence[str | Hardware],
    *,
    steps: Sequence[float] = (0, 1, 2, 3),
    ways: Sequence[str] = (),
    growth: tuple[float, float, float] = (ALPHA, BETA, GAMMA),
    setting: Setting | None = None,
    tell: Tell = quiet,
) -> Scaling:
    """Scale *base* by each of *steps* in each of *ways*: what n steps cost in width, depth or resolution alone, and together.

    *growth* is that of depth, width and resolution with each step of the compound way. Raises UnknownNameError for a network that
    cannot be scaled, and RooflineError for steps that no network is scaled by.
    """
    check_base(base)
    efficientnet = base == "efficientnet_b0"
    wanted = tuple(ways) or (WAYS if efficientnet else WAYS[:-1])
    for way in wanted:
        if way not in WAYS:
            raise UnknownNameError(f"unknown way of scaling {way!r}; use one of {', '.join(WAYS)}")
    if "published" in wanted and not efficientnet:
        raise RooflineError(f"{base} has no published scaling; drop published, or scale efficientnet_b0")
    if not steps or any(not 0 <= step <= 10 for step in steps):
        raise RooflineError("bad steps of scaling; give one or more from 0 to 10, such as 0..3")
    if any(not 1 <= g <= 4 for g in growth):
        raise RooflineError(f"bad growth {growth}; depth, width and resolution grow by 1 to 4 with each step")
    scaled = [m for step in steps if step for way in wanted if (m := _mix(base, way, step, growth)) is not None]
    mixes = [*((Mix(base, 1, 1, BASES[base].image_size, BASE),) if 0 in steps else ()), *scaled]
    notes = (
        "a step is meant to double the MACs: width and resolution by the root of 2, depth by 2, "
        f"compound by {growth[0]:g} in depth, {growth[1]:g} in width, {growth[2]:g} in resolution",
        *(("base is EfficientNet-B0, published B1 to B7, one a step",) * ("published" in wanted)),
        "accuracy is not predicted: that takes training",
    )
    return price_mixes(f"{base} scaled", mixes, hardware, setting=setting, notes=notes, tell=tell)


def price_mixes(
    title: str, mixes: Sequence[Mix], hardware: str | Hardware | Sequence[str | Hardware], *, setting: Setting | None = None,
    notes: tuple[str, ...] = (), tell: Tell = quiet,
) -> Scaling:  # fmt: skip
    """Analyze each of *mixes* that can be built on every device, at the one batch size of *setting*."""
    for mix in mixes:
        check_base(mix.base)
    ground = setting or Setting()
    if len(ground.batches) != 1:
        raise RooflineError(f"scaling takes one batch size; run once for each of {', '.join(map(str, ground.batches))}")
    found = devices(hardware if isinstance(hardware, Sequence) and not isinstance(hardware, str) else (hardware,))
    ground.check(found)
    built = [mix for mix in mixes if mix.buildable]
    networks: list[Scaled] = []
    for i, mix in enumerate(built):
        tell(f"{mix.name} at {mix.image_size} pixels", i / len(built))
        networks.append(Scaled(mix, ground.price(mix.name, found, mix.image_size)))
    run = f"batch {ground.batches[0]}, {ground.precision}, {ground.mode}"
    return Scaling(f"{title}; {run}", tuple(networks), tuple(mix for mix in mixes if not mix.buildable), notes)


def grid(
    base: str,
    hardware: str | Hardware | Sequence[str | Hardware],
    *,
    step: float = 0.1,
    setting: Setting | None = None,
    tell: Tell = quiet,
) -> Scaling:
    """Try every growth of depth (alpha), width (beta) and resolution (gamma) with alpha * beta^2 * gamma^2 = 2, in steps of *step*.

    This is the search that the EfficientNet paper did for its first step, without the accuracy that it chose by. Sorted by latency
    on the first device: what each mix costs where the formula gives them the same MACs.
    """
    check_base(base)
    if not 0.02 <= step <= 0.5:
        raise RooflineError(f"bad step {step:g} of a grid; use 0.02 to 0.5")
    mixes: list[Mix] = []
    for alpha in _range(1.0, 2.0, step):
        for beta in _range(1.0, math.sqrt(2 / alpha), step):
            gamma = math.sqrt(2 / (alpha * beta**2))
            mixes.append(Mix(base, _short(beta), _short(alpha), _pixels(base, gamma), "grid"))
    if base == "efficientnet_b0":
        mixes.append(Mix(base, BETA, ALPHA, _pixels(base, GAMMA), "paper"))
    notes = (
        "d, w and px follow alpha * beta^2 * gamma^2 = 2, twice the MACs; what is built differs, as blocks come whole. The paper "
        "trained such networks and chose by accuracy, which is not predicted here: this is only what each costs",
    )
    found = price_mixes(f"{base}: ways to spend twice the MACs, the fastest on the first device first", mixes, hardware,
                        setting=setting, notes=notes, tell=tell)  # fmt: skip
    return Scaling(found.title, tuple(sorted(found.networks, key=lambda n: n.first.latency)), found.left_out, found.notes)


def parse_steps(text: str) -> tuple[float, ...]:
    """Read `0..7`, `3` or `0,1,2.5` as steps of scaling; raise RooflineError for anything else."""
    if found := re.fullmatch(r"\s*([0-9]{1,2})\s*\.\.\s*([0-9]{1,2})\s*", text):
        steps: tuple[float, ...] = tuple(float(n) for n in range(int(found[1]), int(found[2]) + 1))
    else:
        parts = text.split(",")
        steps = tuple(float(p) for p in parts) if all(re.fullmatch(r"\s*[0-9]{1,2}(\.[0-9]{1,6})?\s*", p) for p in parts) else ()
    if not steps:
        raise RooflineError(f"bad steps {text!r}; write a range such as 0..7, or numbers such as 0,1,2.5")
    return tuple(dict.fromkeys(steps))


def parse_mix(base: str, text: str) -> Mix:
    """Read `1.2,1.4,300` as width, depth and pixels; raise RooflineError for anything else."""
    found = re.fullmatch(r"\s*([0-9.]{1,8})\s*,\s*([0-9.]{1,8})\s*,\s*([0-9]{1,4})\s*", text)
    try:
        mix = Mix(base, _short(float(found[1])), _short(float(found[2])), int(found[3])) if found else None
    except ValueError:
        mix = None
    if mix is None or not mix.buildable:
        ends = f"width {WIDTHS[0]:g} to {WIDTHS[1]:g}, depth {DEPTHS[0]:g} to {DEPTHS[1]:g}"
        raise RooflineError(f"bad mix {text!r}; write width, depth and pixels such as 1.2,1.4,300 ({ends})")
    return mix


def check_base(base: str) -> None:
    """Raise UnknownNameError unless *base* can be scaled."""
    if base not in BASES:
        raise UnknownNameError(f"cannot scale {base!r}; what can be scaled is {', '.join(BASES)}")


def _mix(base: str, way: str, step: float, growth: tuple[float, float, float]) -> Mix | None:
    """Scale *base* so; None for a step that was not published."""
    if way == "published":
        if step != int(step) or step >= len(PUBLISHED):
            return None
        width, depth, size = PUBLISHED[int(step)]
        return Mix(base, width, depth, size, way, step)
    root = math.sqrt(2)
    alpha, beta, gamma = {"width": (1, root, 1), "depth": (2, 1, 1), "resolution": (1, 1, root)}.get(way, growth)
    return Mix(base, _short(beta**step), _short(alpha**step), _pixels(base, gamma**step), way, step)


def _pixels(base: str, factor: float) -> int:
    return round(BASES[base].image_size * factor / PIXELS) * PIXELS


def _short(value: float) -> float:
    """Round a multiplier to four figures, so that a name stays short and the same network has one name."""
    return float(f"{value:.4g}")


def _range(low: float, high: float, step: float) -> Iterator[float]:
    yield from (low + i * step for i in range(int((high - low) / step + 1e-9) + 1))


def _cells(network: Scaled) -> tuple[str, ...]:
    mix, first = network.mix, network.first
    moved, memory = units.scaled(first.bytes, "B"), units.scaled(first.peak_memory, "B")
    return (
        mix.way, f"{mix.step:g}", f"{mix.width:.3g}", f"{mix.depth:.3g}", str(mix.image_size), units.scaled(first.params, ""),
        units.scaled(first.macs / first.batch, ""), moved, units.significant(first.intensity, 2), memory,
        *(units.seconds(a.latency) + ("!" if a.peak_memory > a.hardware.memory_size else "") for a in network.analyses),
    )  # fmt: skip


def _row(network: Scaled, analysis: Analysis) -> dict[str, Any]:
    mix, (low, high) = network.mix, analysis.interval
    return {
        "way": mix.way, "step": mix.step, "model": mix.name, "width": mix.width, "depth": mix.depth, "image_size": mix.image_size,
        "hardware": analysis.hardware.id, "batch": analysis.batch, "precision": analysis.precision, "mode": analysis.mode,
        "params": analysis.params, "macs_per_item": analysis.macs / analysis.batch, "flops_per_item": analysis.flops / analysis.batch,
        "bytes": analysis.bytes, "intensity_flop_per_byte": analysis.intensity, "peak_memory_bytes": analysis.peak_memory,
        "fits": analysis.peak_memory <= analysis.hardware.memory_size, "latency_seconds": analysis.latency, "low_seconds": low,
        "high_seconds": high, "lower_bound_seconds": analysis.lower_bound, "bound": analysis.bound,
    }  # fmt: skip
