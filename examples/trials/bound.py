"""What binds the time of EfficientNets on accelerators, beside networks of like MACs without depthwise convolutions."""

from collections.abc import Iterator, Sequence

import numpy as np

from roofline import units
from roofline.costmodel.analysis import Analysis
from roofline.costmodel.timemodel import BOUNDS
from roofline.studies.families import CURATED
from trials.networks import ALL, BATCHES, GPUS, family
from trials.verdict import Bar, Case, Claim, Estimate, Part, Table

OURS = ("efficientnet_b3", "efficientnet_b4", "efficientnet_b5")
DENSE = ("ResNet", "SENet", "DenseNet", "Inception", "VGG and AlexNet")
SHOWN = ("efficientnet_b4", "resnet50")
"""Two of them that are looked into."""

LIKE = 0.2
"""By how much the MACs of a network may differ from those of the EfficientNet beside it."""

MODES = ("eager", "engine")
HALF = 0.5


def claim(names: Sequence[str] = ALL) -> Claim:
    """Try whether EfficientNets wait for memory on accelerators, and others of like MACs do not."""
    pairs = _pairs(names)
    rivals = tuple(dict.fromkeys(rival for _, found in pairs for rival in found))
    own = tuple(name for name, _ in pairs)
    ours, theirs = _cases(own), _cases(rivals)
    return Claim(
        "Memory-bound on accelerators",
        "EfficientNets are memory-bound on accelerators; networks of like FLOPs are not.",
        "a common explanation without one source; here it means that memory-bound kernels take more than half of the time",
        (
            Part("EfficientNets are memory-bound", "share of time in memory-bound kernels", Bar(least=HALF), ours, "3a"),
            Part("networks of like MACs are not", "share of time in memory-bound kernels", Bar(most=HALF), theirs, "3a"),
        ),
        (_shares(pairs), _four(*SHOWN), _kinds(*SHOWN), _stages(SHOWN[0])),
        tuple(_says(own, rivals)),
    )


def _pairs(names: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Beside each EfficientNet, the dense networks of like MACs, the nearest first."""
    dense = [name for f in DENSE for name, _, _ in CURATED[f] if name in names]
    macs = {m.entry.name: m.first.macs / m.first.batch for m in family((*OURS, *dense)).members}
    found: list[tuple[str, tuple[str, ...]]] = []
    for own in (name for name in OURS if name in names):
        off = {name: abs(macs[name] / macs[own] - 1) for name in dense}
        near = tuple(sorted((name for name in dense if off[name] <= LIKE), key=off.__getitem__))
        found += [(own, near)] if near else []
    return found


def _runs(names: Sequence[str], mode: str) -> dict[str, tuple[Analysis, ...]]:
    return {m.entry.name: m.analyses for m in family(tuple(names), mode).members}


def share(analysis: Analysis, bound: str = "memory") -> Estimate:
    """The share of time in kernels that *bound* holds, and the ends between which it may lie.

    A kernel counts as sure where its bound leads the runner-up by more than the whole width of the interval of the latency: as much as
    the errors of two roofs may differ. At the low end only sure kernels count, at the high end all that may be held by it.
    """
    position = BOUNDS.index(bound)  # type: ignore[arg-type]
    first, second, margin = (array[analysis.index] for array in analysis.times.bounds())
    seconds = analysis.times.seconds[analysis.index] / analysis.latency
    low, high = analysis.spread
    unsure = margin < high / low
    held = first == position
    ends = (float(np.sum(seconds[where])) for where in (held, held & ~unsure, held | ((second == position) & unsure)))
    return Estimate(*ends)


def _cases(names: Sequence[str]) -> tuple[Case, ...]:
    return tuple(
        Case({"network": name, "device": a.hardware.id, "mode": mode, "batch": str(a.batch)}, share(a))
        for mode in MODES for name, analyses in _runs(names, mode).items() for a in analyses if a.hardware.id in GPUS
    )  # fmt: skip


def _shares(pairs: Sequence[tuple[str, tuple[str, ...]]]) -> Table:
    names = [name for own, near in pairs for name in (own, *near)]
    rows: list[tuple[str, ...]] = []
    for mode in MODES:
        runs = _runs(names, mode)
        for name in dict.fromkeys(names):
            macs = units.scaled(runs[name][0].macs, "")
            cells = [_percent(share(a)) for a in runs[name] if a.hardware.id in GPUS]
            rows.append((name, mode, macs, *cells))
    header = ("network", "mode", "MACs", *(f"{device} b{batch}" for device in GPUS for batch in BATCHES))
    return Table(
        "3a. Share of time in memory-bound kernels, fp32", header, rows,
        f"Networks within {units.percent(LIKE)} of the MACs of an EfficientNet stand below it, the nearest first. In brackets: only "
        "kernels whose bound leads by more than the interval is wide, and all that memory may hold.",
    )  # fmt: skip


def _percent(e: Estimate) -> str:
    return f"{100 * e.value:.0f} % ({100 * e.low:.0f} to {100 * e.high:.0f})"


def _four(own: str, rival: str) -> Table:
    rows = [
        (name, mode, a.hardware.id, str(a.batch), units.seconds(a.latency),
         *(units.percent(a.seconds_by_bound[b] / a.latency) for b in BOUNDS), a.bound)
        for mode in MODES for name, analyses in _runs((own, rival), mode).items() for a in analyses
    ]  # fmt: skip
    return Table(f"3b. Where the time of {own} and {rival} goes, by what binds each kernel, CPUs too",
                 ("network", "mode", "device", "batch", "latency", *BOUNDS, "bound"), rows)  # fmt: skip


def _kinds(own: str, rival: str) -> Table:
    rows: list[tuple[str, ...]] = []
    for name, analyses in _runs((own, rival), "eager").items():
        a = _at(analyses, "v100", 64)
        rows += [(name, row.name, str(row.kernels), units.percent(row.share), units.percent(row.cost.macs / a.macs),
                  units.significant(row.cost.intensity, 2), row.bound) for row in a.by_op() if row.share >= 0.005]  # fmt: skip
    return Table("3c. By kind of layer, on the V100 at batch 64, eager", ("network", "kind", "n", "time", "MACs", "FLOP/B", "bound"), rows)


def _stages(own: str) -> Table:
    runs = [_at(_runs((own,), "eager")[own], "v100", batch) for batch in BATCHES]
    one, many = ({row.name: row for row in a.by_module(2)} for a in runs)
    rows = [
        (name, units.percent(one[name].share), one[name].bound, units.percent(row.share), row.bound,
         units.significant(row.cost.intensity, 2), *(units.percent(row.seconds_by_bound[b] / row.seconds) for b in BOUNDS))
        for name, row in many.items() if row.share >= 0.002
    ]  # fmt: skip
    header = ("stage", "time b1", "bound b1", "time b64", "bound b64", "FLOP/B b64", *(f"{b} b64" for b in BOUNDS))
    return Table(f"3d. Stage by stage: {own} on the V100, eager", header, rows)


def _at(analyses: Sequence[Analysis], device: str, batch: int) -> Analysis:
    return next(a for a in analyses if a.hardware.id == device and a.batch == batch)


def _says(own: Sequence[str], rivals: Sequence[str]) -> Iterator[str]:
    for names, word in ((own, "EfficientNets"), (rivals, "the others")):
        for mode in MODES:
            for batch in BATCHES:
                found = [a for analyses in _runs(names, mode).values() for a in analyses if a.batch == batch and a.hardware.id in GPUS]
                means = {b: float(np.mean([a.seconds_by_bound[b] / a.latency for a in found])) for b in BOUNDS}
                told = ", ".join(f"{b} {units.percent(means[b])}" for b in sorted(BOUNDS, key=lambda b: -means[b])[:3])
                yield f"{word} in mode {mode} at batch {batch}, mean over {', '.join(GPUS)}: {told}"
