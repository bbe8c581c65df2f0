"""A 3x3 convolution beside the depthwise and pointwise ones that replace it: operations and time."""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache

from roofline import units
from roofline.costmodel.analysis import Analysis
from roofline.graph import Graph
from trials.networks import BATCHES
from trials.spread import ratio
from trials.verdict import Bar, Case, Claim, Estimate, Part, Table

CHANNELS = 64, 128
PIXELS = 112
WHERE = ("c5.2xlarge", "t4", "v100")
MODES = ("eager", "engine")


def claim(where: Sequence[str] = WHERE) -> Claim:
    """Try whether separable convolutions need a ninth of the operations, and whether they save as much time."""
    pairs = [(device, mode, i) for device in where for mode in MODES for i in range(len(BATCHES))]
    found = {key: (_runs(False, *key[:2])[key[2]], _runs(True, *key[:2])[key[2]]) for key in pairs}
    dense, separable = next(iter(found.values()))
    fewer = dense.macs / separable.macs
    cases = tuple(
        Case({"device": device, "mode": mode, "batch": str(BATCHES[i])}, ratio(*found[device, mode, i])) for device, mode, i in pairs
    )
    counted = Case({"count": "MACs"}, Estimate.exact(fewer))
    best, worst = (end(cases, key=lambda case: case.estimate.value) for end in (max, min))
    return Claim(
        "Depthwise-separable convolutions",
        "A depthwise-separable convolution needs 8 to 9 times fewer operations than a 3x3 convolution, which saves as much time.",
        "Howard et al., MobileNets, 2017, section 3.1, https://arxiv.org/abs/1704.04861 (of operations; that time follows is tried here)",
        (
            Part("8 to 9 times fewer operations", "MACs, 3x3 / separable", Bar(8, 9), (counted,), "2a"),
            Part("faster at all", "time, 3x3 / separable", Bar(least=1), cases, "2b"),
            Part(f"faster by half of the {fewer:.1f} times at least", "time, 3x3 / separable", Bar(least=fewer / 2), cases, "2b"),
        ),
        (_counts(dense, separable), _times(found)),
        (
            f"the separable pair needs {fewer:.2f} times fewer MACs, and moves {separable.bytes / dense.bytes:.1f} times the bytes in "
            f"{dense.mode} mode: its intermediate map is written and read",
            f"the gain in time is largest with {best.estimate.value:.1f} times ({best.name}), smallest with {worst.estimate.value:.2f} "
            f"({worst.name})",
            _held(found.values()),
        ),
    )  # fmt: skip


def _held(found: Iterable[tuple[Analysis, Analysis]]) -> str:
    """Say how often each kind of convolution is bound by compute, and how many MACs a second it does."""
    told: list[str] = []
    runs = list(found)
    for kind, which in (("conv", 0), ("depthwise conv", 1), ("pointwise conv", 1)):
        rows = [next(row for row in pair[which].by_op() if row.name == kind) for pair in runs]
        rates = sorted(row.cost.macs / row.seconds for row in rows)
        bounds = ", ".join(f"{b} {n}" for b, n in Counter(row.bound for row in rows).most_common())
        told.append(f"{'3x3 conv' if kind == 'conv' else kind}: {bounds}, {units.scaled(rates[len(rates) // 2], 'MAC/s')} in the median")
    return f"what binds the convolutions in these {len(runs)} runs, and how fast they multiply: {'; '.join(told)}"


@cache
def _runs(separable: bool, device: str, mode: str) -> tuple[Analysis, ...]:
    import roofline

    return roofline.analyze_many(_graph(separable), [device], BATCHES, mode=mode)


@cache
def _graph(separable: bool) -> Graph:
    """Trace 64 to 128 channels at 112 x 112, each convolution with its batch norm and ReLU, as MobileNets have them."""
    from torch import nn

    import roofline

    c, k = CHANNELS

    def step(i: int, o: int, size: int, groups: int = 1) -> list[nn.Module]:
        return [nn.Conv2d(i, o, size, padding=size // 2, groups=groups, bias=False), nn.BatchNorm2d(o), nn.ReLU()]

    net = nn.Sequential(*(step(c, c, 3, c) + step(c, k, 1) if separable else step(c, k, 3))).eval()
    return roofline.trace(net, (1, c, PIXELS, PIXELS))


def _counts(dense: Analysis, separable: Analysis) -> Table:
    rows = [
        (name, units.scaled(a.params, ""), units.scaled(a.macs / a.batch, ""), units.scaled(a.bytes / a.batch, "B"), f"{a.intensity:.1f}")
        for name, a in (("3x3", dense), ("depthwise 3x3, pointwise", separable))
    ]
    return Table(
        f"2a. {CHANNELS[0]} to {CHANNELS[1]} channels at {PIXELS} x {PIXELS}, with batch norms and ReLUs, an image",
        ("convolution", "params", "MACs", "moved", "FLOP/B"), rows, f"Bytes are those of batch {dense.batch} in {dense.mode} mode.",
    )  # fmt: skip


def _times(found: dict[tuple[str, str, int], tuple[Analysis, Analysis]]) -> Table:
    rows = [
        (device, mode, str(BATCHES[i]), units.seconds(a.latency), a.bound, units.seconds(b.latency), b.bound, str(ratio(a, b)))
        for (device, mode, i), (a, b) in found.items()
    ]
    header = ("device", "mode", "batch", "3x3", "bound", "separable", "bound", "3x3 / separable")
    return Table("2b. Time of a batch, fp32", header, rows)
