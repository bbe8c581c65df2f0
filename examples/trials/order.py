"""How far FLOPs tell run time: rank correlation over a zoo of networks, predicted and as others measured it."""

from collections.abc import Iterator, Sequence

import numpy as np

from roofline import units
from roofline.measurement import published
from roofline.measurement.comparison import spearman
from roofline.studies.zoo import Member, Zoo
from trials.networks import ALL, BATCHES, DEVICES, IMAGE_SIZES, family
from trials.verdict import Bar, Case, Claim, Estimate, Part, Table

MODES = ("eager", "engine")
CORRELATED, PERFECT = 0.5, 0.95
"""Rank correlations from which on MACs are called correlated with time, and from which on as good as time itself."""

DRAWS = 400
"""Resamplings that an interval is taken from."""

FEWEST = 15
"""Networks that a table of timings must share with the zoo."""

LIKE = 0.1
"""By how much the MACs of two networks may differ that are called alike."""


def claim(names: Sequence[str] = ALL) -> Claim:
    """Try whether MACs and time rank networks alike, but not the same."""
    zoos = {mode: family(tuple(names), mode) for mode in MODES}
    predicted = tuple(
        Case({"by": "predicted", "device": device, "mode": mode, "batch": str(batch)}, correlation(*_columns(zoo, device, batch)))
        for mode, zoo in zoos.items() for device in DEVICES for batch in BATCHES
    )  # fmt: skip
    measured, table = _measured(zoos["eager"])
    cases = (*predicted, *measured)
    return Claim(
        "FLOPs and run time",
        "FLOPs and run time are correlated, but not perfectly.",
        "Tan et al., MnasNet, 2018, https://arxiv.org/abs/1807.11626, which calls FLOPs an often inaccurate proxy of latency (recalled)",
        (
            Part("correlated", "Spearman's rank correlation of MACs and time an image", Bar(least=CORRELATED), cases, "4a and 4b"),
            Part("not perfectly", "Spearman's rank correlation of MACs and time an image", Bar(most=PERFECT), cases, "4a and 4b"),
        ),
        (_ranks(zoos), table, _apart(zoos)),
        tuple(_says(predicted)),
    )


def correlation(macs: Sequence[float], seconds: Sequence[float]) -> Estimate:
    """Spearman's correlation, and the 80 % interval that resampling the networks gives."""
    a, b = np.asarray(macs), np.asarray(seconds)
    random = np.random.default_rng(0)
    picks = (random.integers(0, len(a), len(a)) for _ in range(DRAWS))
    drawn = [spearman(a[i], b[i]) for i in picks]
    low, high = np.nanquantile(drawn, (0.1, 0.9))
    return Estimate(spearman(a, b), float(low), float(high))


def _columns(zoo: Zoo, device: str, batch: int) -> tuple[list[float], list[float]]:
    return [m.first.macs / m.first.batch for m in zoo.members], [_time(m, device, batch) for m in zoo.members]


def _time(member: Member, device: str, batch: int) -> float:
    return next(a.latency / a.batch for a in member.analyses if a.hardware.id == device and a.batch == batch)


def _ranks(zoos: dict[str, Zoo]) -> Table:
    rows = [
        (device, *(str(correlation(*_columns(zoos[mode], device, batch))) for mode in MODES for batch in BATCHES)) for device in DEVICES
    ]
    header = ("device", *(f"{mode} b{batch}" for mode in MODES for batch in BATCHES))
    networks = len(zoos["eager"].members)
    return Table(f"4a. Rank correlation of MACs and predicted time an image, {networks} networks, fp32", header, rows,
                 f"In brackets: 80 % of {DRAWS} resamplings of the networks.")  # fmt: skip


def _measured(zoo: Zoo) -> tuple[tuple[Case, ...], Table]:
    """Correlate MACs with times that others measured, of the networks of *zoo* that they timed at the same image size."""
    macs = {m.entry.name: m.first.macs / m.first.batch for m in zoo.members}
    groups: dict[tuple[str, ...], dict[str, float]] = {}
    for row in published.read():
        name = row.model.removeprefix("tf_")
        if not row.excluded and IMAGE_SIZES.get(name) == row.image_size and name in macs:
            groups.setdefault((row.dataset, row.device, row.mode, row.precision), {})[name] = row.seconds / row.batch
    kept = {key: found for key, found in groups.items() if len(found) >= FEWEST}
    cases, rows = [], []
    for (dataset, device, mode, precision), found in kept.items():
        estimate = correlation([macs[name] for name in found], list(found.values()))
        cases.append(Case({"by": "measured", "device": device, "mode": mode, "batch": "large"}, estimate))
        rows.append((dataset, device, mode, precision, str(len(found)), str(estimate)))
    return tuple(cases), Table(
        "4b. The same with times that others measured", ("data set", "device", "mode", "precision", "networks", "rank correlation"), rows,
        f"Published timings of those networks at that image size, at least {FEWEST} of a data set; throughput at large batches.",
    )  # fmt: skip


def _apart(zoos: dict[str, Zoo]) -> Table:
    """List, for each column, the two networks of like MACs whose times are farthest apart."""
    rows: list[tuple[str, ...]] = []
    for mode, zoo in zoos.items():
        for device in DEVICES:
            for batch in BATCHES:
                macs, seconds = map(np.asarray, _columns(zoo, device, batch))
                alike = np.abs(np.log(macs[:, None] / macs)) <= np.log1p(LIKE)
                factors = np.where(alike, seconds[:, None] / seconds, 0.0)
                slow, fast = np.unravel_index(factors.argmax(), factors.shape)
                wrong = (np.sign(macs[:, None] - macs) * np.sign(seconds[:, None] - seconds) < 0).mean() * len(macs) / (len(macs) - 1)
                names = [zoo.members[int(i)].entry.name for i in (slow, fast)]
                rows.append((f"{device} b{batch}", mode, units.percent(float(wrong)), f"{factors.max():.1f}", *names))
    header = ("on", "mode", "pairs in the wrong order", "times as long", "this network", "as this, of like MACs")
    return Table(f"4c. What MACs do not tell: pairs that they order wrongly, and the two networks within {units.percent(LIKE)} of each "
                 "other's MACs that differ most in predicted time", header, rows)  # fmt: skip


def _says(cases: Sequence[Case]) -> Iterator[str]:
    for mode in MODES:
        for batch in BATCHES:
            found = [c for c in cases if c.at["mode"] == mode and c.at["batch"] == str(batch)]
            low, high = (end(found, key=lambda c: c.estimate.value) for end in (min, max))
            yield (f"mode {mode}, batch {batch}: rank correlation {low.estimate.value:.2f} ({low.at['device']}) to "
                   f"{high.estimate.value:.2f} ({high.at['device']})")  # fmt: skip
