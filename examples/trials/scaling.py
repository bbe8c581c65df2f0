"""What it costs to scale EfficientNet-B0 in width, depth and resolution together, beside one alone, at equal FLOPs."""

from collections.abc import Iterator, Sequence
from functools import cache

from roofline import units
from roofline.costmodel.analysis import Analysis
from roofline.studies.scaling import Scaled, scale
from roofline.studies.setting import Setting
from trials.networks import BATCHES, DEVICES
from trials.spread import ratio
from trials.verdict import Bar, Case, Claim, Estimate, Part, Table

BASE = "efficientnet_b0"
STEP = 3
"""Doublings of the MACs."""

ALONE = ("width", "depth", "resolution")
MODES = ("eager", "engine")
NO_MORE = Bar(most=1)


def claim(devices: Sequence[str] = DEVICES) -> Claim:
    """Try whether compound scaling takes no more time than any dimension alone, at equal MACs."""
    cases = tuple(
        Case({"than": way, "device": device, "mode": mode, "batch": str(batch)}, _ratio(way, device, mode, batch, tuple(devices)))
        for mode in MODES for batch in BATCHES for device in devices for way in ALONE
    )  # fmt: skip
    parts = tuple(
        Part(
            f"no more time than {way} alone", f"time a MAC, compound / {way}", NO_MORE, tuple(c for c in cases if c.at["than"] == way), "8b"
        )
        for way in ALONE
    )
    return Claim(
        "Scaling three dimensions together",
        "Scaling width, depth and resolution together beats scaling one alone: at equal FLOPs it is more accurate (not tried here), and "
        "costs no more time.",
        "Tan and Le, EfficientNet, 2019, sections 3.3 and 5, https://arxiv.org/abs/1905.11946 (of accuracy; its cost is tried here)",
        parts,
        (_built(tuple(devices)), _table(cases, devices)),
        tuple(_says(cases)),
    )


@cache
def _scaled(mode: str, batch: int, devices: Sequence[str]) -> dict[str, Scaled]:
    found = scale(BASE, devices, steps=(STEP,), ways=("compound", *ALONE), setting=Setting(batches=(batch,), mode=mode))
    return {network.mix.way: network for network in found.networks}


def _at(way: str, device: str, mode: str, batch: int, devices: Sequence[str]) -> Analysis:
    return next(a for a in _scaled(mode, batch, devices)[way].analyses if a.hardware.id == device)


def _ratio(way: str, device: str, mode: str, batch: int, devices: Sequence[str]) -> Estimate:
    """Time a MAC of compound scaling over that of *way*: what they would take at equal MACs, as built they differ by a little."""
    both, alone = (_at(w, device, mode, batch, devices) for w in ("compound", way))
    return ratio(both, alone) * (alone.macs / both.macs)


def _built(devices: Sequence[str]) -> Table:
    found = _scaled(MODES[0], BATCHES[-1], devices)
    rows = [
        (way, f"{n.mix.width:.3g}", f"{n.mix.depth:.3g}", str(n.mix.image_size), units.scaled(n.first.params, ""),
         units.scaled(n.first.macs / n.first.batch, ""), units.scaled(n.first.bytes / n.first.batch, "B"),
         units.significant(n.first.intensity, 2))
        for way, n in found.items()
    ]  # fmt: skip
    header = ("way", "width", "depth", "px", "params", "MACs", "moved", "FLOP/B")
    return Table(f"8a. {BASE} scaled by {STEP} steps, each meant to double the MACs; counts an image", header, rows)


def _table(cases: Sequence[Case], devices: Sequence[str]) -> Table:
    rows: list[tuple[str, ...]] = []
    for mode in MODES:
        for batch in BATCHES:
            for device in devices:
                compound = _at("compound", device, mode, batch, tuple(devices))
                here = [c for c in cases if (c.at["device"], c.at["mode"], c.at["batch"]) == (device, mode, str(batch))]
                cells = (f"{c.estimate} {NO_MORE.judge(c.estimate)}" for c in here)
                rows.append((device, mode, str(batch), units.seconds(compound.latency), *cells))
    header = ("device", "mode", "batch", "compound", *(f"compound / {way}" for way in ALONE))
    return Table("8b. Time a MAC of the compound network over that of each dimension alone, fp32", header, rows)


def _says(cases: Sequence[Case]) -> Iterator[str]:
    for way in ALONE:
        found = [c for c in cases if c.at["than"] == way]
        low, high = (end(found, key=lambda c: c.estimate.value) for end in (min, max))
        yield (f"against {way} alone, compound scaling takes {low.estimate.value:.2f} times the time at equal MACs ({low.name}) to "
               f"{high.estimate.value:.2f} times ({high.name})")  # fmt: skip
