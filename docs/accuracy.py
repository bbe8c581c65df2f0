"""Fill the tables of docs/accuracy.md, and that of the README, from benchmarks/results/left_out.csv.

Each line of that file is one published timing, with what fits predicted that had not seen its network, its family or its
device. A table goes between `<!-- accuracy: NAME -->` and `<!-- /accuracy -->`; NAME is one of TABLES.
"""

import csv
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import numpy as np

from roofline import units
from roofline.costmodel.hardware import load_hardware
from roofline.costmodel.relatives import calibration_for
from roofline.measurement.comparison import Case, Comparison, Point
from roofline.measurement.published import EXCLUSIONS
from roofline.measurement.spreads import Spread, evenly, of_run, percentiles
from roofline.measurement.table import factor, figure, share
from roofline.transforms.modes import check_layout, check_mode

DOCS = Path(__file__).parent
LEFT_OUT = DOCS.parent / "benchmarks" / "results" / "left_out.csv"
BLOCK = re.compile(r"(<!-- accuracy(?:: ([a-z0-9 ]+))? -->)(\n?).*?(<!-- /accuracy -->)", re.DOTALL)

KINDS = ("network", "family", "device")
"""What a fit had not seen of a row that it predicted."""

FEWEST = 8
"""Rows of which percentiles are taken; with fewer there is no interval."""

CONVOLUTIONAL = frozenset((
    "byobnet", "convmixer", "convnext", "cspnet", "densenet", "dla", "dpn", "efficientnet", "fasternet", "ghostnet", "hardcorenas",
    "hgnet", "hrnet", "inception_next", "inception_resnet_v2", "inception_v3", "inception_v4", "mambaout", "mobilenetv3", "nasnet",
    "nfnet", "pnasnet", "rdnet", "regnet", "repghost", "repvit", "res2net", "resnest", "resnet", "resnetv2", "rexnet", "selecsls",
    "senet", "sknet", "starnet", "tresnet", "vgg", "vovnet", "xception", "xception_aligned", "yolov8",
))  # fmt: skip
"""Families (files of timm, and YOLOv8) whose networks mix positions by convolutions and pooling alone."""

BATCHES = ((1, 1), (2, 8), (9, 64), (65, 256), (257, math.inf))
MODES = {"eager": "eager PyTorch", "compiled": "torch.compile", "engine": "inference engines"}
EFFICIENTNET = re.compile(r"(tf_)?efficientnet_(b[0-7])")

ANY = ("*",)
"""The shell pattern that everything fits."""

SYSTEMATIC = 1.1
"""Factor between median prediction and measurement from which a group is called off."""


# --- rows --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scores:
    """The same timings beside three predictions each: by fits that had not seen the network, the family, the device."""

    network: Comparison
    family: Comparison
    device: Comparison

    @property
    def points(self) -> tuple[Point, ...]:
        """The timings, beside what was predicted of networks left out."""
        return self.network.points

    def where(self, keep: Callable[[Point], bool]) -> "Scores":
        """Keep the timings of which *keep*, told what ran where and how, says so."""
        return self._at([i for i, p in enumerate(self.points) if keep(p)])

    def by(self, name: Callable[[Point], str]) -> "dict[str, Scores]":
        """Group by *name*, in the order of the first of each."""
        positions: dict[str, list[int]] = {}
        for i, p in enumerate(self.points):
            positions.setdefault(name(p), []).append(i)
        return {key: self._at(found) for key, found in positions.items()}

    def _at(self, positions: Sequence[int]) -> "Scores":
        return Scores(*(Comparison(tuple(getattr(self, kind).points[i] for i in positions)) for kind in KINDS))


def read(path: Path = LEFT_OUT) -> Scores:
    """Read the file of benchmarks/fit.py."""
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    network, family, device = ([_point(line, kind) for line in lines] for kind in KINDS)
    folds = {line["model"]: line["fold"] for line in lines}
    near = spreads_elsewhere(network, run_of, lambda p: folds[p.model])
    far = spreads_elsewhere(device, way_of, lambda p: stem(p.device))
    pairs = (network, near), (family, near), (device, far)
    return Scores(*(Comparison(tuple(map(with_interval, points, factors))) for points, factors in pairs))


def _point(line: Mapping[str, str], kind: str) -> Point:
    texts = {name: line[name] for name in ("dataset", "device", "model", "family", "mode", "precision", "layout")}
    case = Case(**texts, batch=int(line["batch"]), image_size=int(line["image_size"]), excluded=_reason(line))
    facts = {name: getattr(case, name) for name in Case.__dataclass_fields__}
    measured, predicted, limit = (float(line[name]) for name in ("measured_s", f"{kind}_left_out_s", "limit_s"))
    return Point(**facts, measured=measured, predicted=predicted, low=math.nan, high=math.nan, limit=limit)


def _reason(line: Mapping[str, str]) -> str:
    """Say why no fit saw this row; empty for one that fits may see."""
    if line["excluded"] == "0":
        return ""
    named = (rule for rule in EXCLUSIONS if matches(line["dataset"], rule.datasets) and matches(line["model"], rule.models))
    return next((rule.reason for rule in named), "left out of fits")


def matches(value: str, patterns: tuple[str, ...]) -> bool:
    """Tell whether *value* fits one of the shell *patterns*."""
    return patterns == ANY or any(fnmatchcase(value, pattern) for pattern in patterns)


def stem(device: str) -> str:
    """Name the processor of *device*: the sizes of c5 are one."""
    return device.partition(".")[0]


@cache
def kind_of(device: str) -> str:
    """Say whether *device* is a cpu or a gpu."""
    return load_hardware(device).kind


def is_gpu(point: Point) -> bool:
    """Tell whether *point* ran on a GPU."""
    return kind_of(point.device) == "gpu"


def is_convolutional(point: Point) -> bool:
    """Tell whether the network of *point* is of a family of CONVOLUTIONAL."""
    return point.family in CONVOLUTIONAL


def way_of(point: Point) -> str:
    """Name the kind of device and the mode: what a device never measured shares with others."""
    return f"{'GPU' if is_gpu(point) else 'CPU'}, {MODES[point.mode]}"


def run_of(point: Point) -> str:
    """Name what shares an interval: the device, its mode, and in eager mode on a GPU its layout."""
    layout = f", {point.layout}" if point.mode == "eager" and is_gpu(point) else ""
    return f"{stem(point.device)}, {point.mode}{layout}"


def spreads_elsewhere(points: Sequence[Point], run: Callable[[Point], str], part: Callable[[Point], str]) -> list[Spread]:
    """Give each point the spread that a report of its run would state, had nobody seen the point's own part of the timings."""
    keys, ways = [(run(p), part(p)) for p in points], [way_of(p) for p in points]
    found: dict[tuple[str, str], Spread] = {}
    for key, way in dict(zip(keys, ways, strict=True)).items():
        others = [i for i, p in enumerate(points) if ways[i] == way and keys[i][1] != key[1] and not p.excluded]
        found[key] = spread([points[i] for i in others if keys[i][0] == key[0]], [points[i] for i in others])
    return [found[key] for key in keys]


def spread(own: Sequence[Point], mode: Sequence[Point]) -> Spread:
    """Return the spread of a run, given its *own* timings and those of its whole *mode*; NaN where there are few."""
    if len(own) < FEWEST:
        return math.nan, math.nan
    pooled = evenly(np.array([1 / p.ratio for p in mode]), [p.device for p in mode])
    return of_run(percentiles(np.array([1 / p.ratio for p in own])), len({p.model for p in own}), pooled)


def with_interval(point: Point, factors: Spread) -> Point:
    """Set the ends of the interval."""
    return replace(point, low=point.predicted * factors[0], high=point.predicted * factors[1])


# --- figures -----------------------------------------------------------------------------------------------------------


def covers(comparison: Comparison) -> float:
    """Share of the measured times inside their interval, of those that have one."""
    return Comparison(tuple(p for p in comparison.points if not math.isnan(p.low))).coverage


def mean_error(comparison: Comparison) -> float:
    """Mean of `|predicted / measured - 1|`."""
    return float(np.mean([p.error for p in comparison.points])) if comparison.n else math.nan


def within(comparison: Comparison, error: float) -> float:
    """Share of the predictions off by at most *error*."""
    return float(np.mean([p.error <= error for p in comparison.points])) if comparison.n else math.nan


def off(comparison: Comparison) -> float:
    """Factor, of at least 1, between what is predicted and measured in the median."""
    return max(comparison.bias, 1 / comparison.bias) if comparison.n else math.nan


def both(comparison: Comparison) -> str:
    """Write the median error, and the 90th percentile in brackets."""
    return f"{share(comparison.median_error)} ({share(comparison.p90_error)})" if comparison.n else "-"


def table(header: Sequence[str], lines: Iterable[Sequence[str]], *, words: int = 1) -> str:
    """Write a Markdown table whose first columns hold *words*, and the others figures."""
    rules = ["---" if i < words else "---:" for i in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rules, *lines))


def used(scores: Scores) -> Scores:
    """Keep the rows that count."""
    return scores.where(lambda p: not p.excluded)


def convolutional(scores: Scores) -> Scores:
    """Keep the convolutional networks."""
    return scores.where(is_convolutional)


# --- tables ------------------------------------------------------------------------------------------------------------


def summary(scores: Scores) -> str:
    """Tabulate the convolutional networks by kind of device and mode."""
    groups = convolutional(used(scores)).by(way_of)
    header = ("convolutional networks", "timings", "new network", "new family", "new device", "plain roofline")
    return table(header, [(name, str(g.network.n), *_thrice(g)) for name, g in groups.items()])


def _thrice(g: Scores) -> tuple[str, ...]:
    return (*(both(getattr(g, kind)) for kind in KINDS), share(g.network.roof_error))


def counts(scores: Scores) -> str:
    """Say how much was compared."""
    held, apart = used(scores), scores.where(lambda p: bool(p.excluded))
    networks = {name: len({p.model for p in s.points}) for name, s in (("all", held), ("cnn", convolutional(held)))}
    devices = sorted({p.device for p in held.points})
    return (
        f"{held.network.n:,} timings of {networks['all']:,} networks count ({convolutional(held).network.n:,} of {networks['cnn']:,} "
        f"convolutional ones), on\n{', '.join(devices)}; {apart.network.n:,} more are reported apart."
    )


def exclusions(scores: Scores) -> str:
    """List why rows are reported apart, and how many."""
    return "\n".join(
        f"- {reason}: {', '.join(f'`{name}`' for name in datasets)} ({sum(p.excluded == reason for p in scores.points)} rows)."
        for reason, datasets in scores.network.exclusions.items()
    )


MAIN = (
    "data set", "ran as", "n", "network: median", "p90", "bias", "rank", "covers", "family: median", "p90", "device: median", "p90",
    "limit",
)  # fmt: skip


def by_dataset(scores: Scores) -> str:
    """Tabulate the data sets, and all of them together."""
    groups = scores.by(lambda p: p.dataset)
    lines = [(f"`{name}`", _ran_as(g), *_main(g)) for name, g in groups.items()]
    return table(MAIN, [*lines, *([("all", "", *_main(scores))] if len(groups) > 1 else [])], words=2)


def _ran_as(g: Scores) -> str:
    devices = dict.fromkeys(stem(p.device) for p in g.points)
    return f"{', '.join(devices)} {g.points[0].mode}, {', '.join(dict.fromkeys(p.precision for p in g.points))}"


def _main(g: Scores) -> tuple[str, ...]:
    n = g.network
    return (
        str(n.n), share(n.median_error), share(n.p90_error), factor(n.bias), figure(n.rank_correlation), share(covers(n)),
        share(g.family.median_error), share(g.family.p90_error), share(g.device.median_error), share(g.device.p90_error),
        share(n.roof_error),
    )  # fmt: skip


def mixed(scores: Scores) -> str:
    """Tabulate all networks of the data sets that do not hold convolutional ones alone."""
    others = {p.dataset for p in used(scores).points if not is_convolutional(p)}
    return by_dataset(used(scores).where(lambda p: p.dataset in others))


def apart(scores: Scores) -> str:
    """Tabulate what no fit may see."""
    return by_dataset(scores.where(lambda p: bool(p.excluded)))


def efficientnets(scores: Scores) -> str:
    """Tabulate EfficientNet B0 to B7 by data set: errors, and predicted over measured time by size."""
    found = scores.where(lambda p: EFFICIENTNET.fullmatch(p.model) is not None)
    sizes = sorted({EFFICIENTNET.fullmatch(p.model)[2] for p in found.points})
    groups = found.by(lambda p: f"`{p.dataset}`{'*' if p.excluded else ''}|{'tf_' if p.model.startswith('tf_') else ''}efficientnet")
    lines = [(*name.split("|"), str(g.network.n), *_thrice(g), *_by_size(g, sizes)) for name, g in groups.items()]
    header = ("data set", "names", "n", "new network", "new family", "new device", "limit", *(size.upper() for size in sizes))
    return table(header, lines, words=2)


def _by_size(g: Scores, sizes: Sequence[str]) -> list[str]:
    return [factor(Comparison(tuple(p for p in g.points if p.model.endswith(f"_{size}"))).bias) for size in sizes]


def by_condition(scores: Scores) -> str:
    """Tabulate precisions, modes and ranges of batch sizes."""
    held = used(scores)
    conditions: list[tuple[str, Callable[[Point], bool]]] = [
        *((name, lambda p, name=name: p.precision == name) for name in sorted({p.precision for p in held.points})),
        *((text, lambda p, mode=mode: p.mode == mode) for mode, text in MODES.items()),
        *((_range(*ends), lambda p, ends=ends: ends[0] <= p.batch <= ends[1]) for ends in BATCHES),
    ]
    groups = [(name, held.where(keep)) for name, keep in conditions]
    return table(_GROUP, [_group(name, g) for name, g in groups if g.network.n])


def _range(low: float, high: float) -> str:
    return f"batch {low}" if low == high else f"batch {low} to {high}" if high < math.inf else f"batch above {low - 1}"


_GROUP = ("", "n", "new network", "bias", "covers", "new family", "new device", "limit", "n, convolutional", "new network")


def _group(name: str, g: Scores) -> tuple[str, ...]:
    conv = convolutional(g).network
    near, family, device = both(g.network), both(g.family), both(g.device)
    numbers = (str(g.network.n), near, factor(g.network.bias), share(covers(g.network)), family, device, share(g.network.roof_error))
    return (name, *numbers, str(conv.n), both(conv))


def by_family(scores: Scores, worst: int = 15, best: int = 4, fewest: int = 6) -> str:
    """Tabulate the *worst* and the *best* families by median error, of those with *fewest* timings."""
    groups = {name: g for name, g in used(scores).by(lambda p: p.family).items() if g.network.n >= fewest}
    ranked = sorted(groups, key=lambda name: (-groups[name].network.median_error, name))
    shown = ranked if len(ranked) <= worst + best else [*ranked[:worst], "...", *ranked[-best:]]
    header = ("family", "convolutional", "n", "new network", "bias", "new family", "bias", "new device", "limit")
    return table(header, [_family(name, groups.get(name)) for name in shown], words=2)


def _family(name: str, g: Scores | None) -> tuple[str, ...]:
    if g is None:
        return (name, *[""] * 8)
    n, f = g.network, g.family
    kind = "yes" if name in CONVOLUTIONAL else "no"
    return (name, kind, str(n.n), both(n), factor(n.bias), both(f), factor(f.bias), both(g.device), share(n.roof_error))


def worst_rows(scores: Scores, count: int = 10) -> str:
    """Tabulate the rows farthest off, each network once."""
    once: dict[str, Point] = {}
    for point in used(scores).network.worst(len(scores.points)):
        once.setdefault(point.model, point)
    header = ("network", "data set", "batch", "pixels", "measured", "predicted", "which is", "rows of it beyond 2x")
    far = [p.model for p in used(scores).points if max(p.ratio, 1 / p.ratio) > 2]
    return table(header, [_worst(p, far.count(p.model)) for p in list(once.values())[:count]], words=2)


def _worst(p: Point, beyond: int) -> tuple[str, ...]:
    times = units.seconds(p.measured), units.seconds(p.predicted)
    return (f"`{p.model}`", f"`{p.dataset}`", str(p.batch), str(p.image_size), *times, times_off(p.ratio), str(beyond))


def times_off(ratio: float) -> str:
    """Say by which factor a prediction is off: `1.20 times too slow`."""
    return f"{max(ratio, 1 / ratio):.2f} times too {'slow' if ratio > 1 else 'fast'}"


def intervals(scores: Scores) -> str:
    """Tabulate, for each way of running a device, the interval and how often it held; and that which other devices give."""
    header = ("ran as", "n", "from", "to", "new network: covers", "as reported", "new family: covers", "new device: from", "to", "covers")
    held = used(scores)
    modes = held.by(way_of)
    lines = [
        (name, str(g.network.n), *_ends(g, modes[way_of(g.points[0])]), *_held(g), *_far(g.device)) for name, g in held.by(run_of).items()
    ]
    return table(header, [*lines, ("all", str(held.network.n), "", "", *_held(held), "", "", share(covers(held.device)))])


@cache
def reported(device: str, mode: str, layout: str) -> Spread:
    """Return the ends of the interval that a report gives, as factors of its prediction."""
    return calibration_for(load_hardware(device), check_mode(mode), check_layout(layout or "nchw")).spread


def _held(g: Scores) -> tuple[str, ...]:
    shipped = [with_interval(p, reported(p.device, p.mode, p.layout)) for p in g.points]
    return share(covers(g.network)), share(Comparison(tuple(shipped)).coverage), share(covers(g.family))


def _ends(g: Scores, mode: Scores) -> tuple[str, str]:
    low, high = spread(g.points, mode.points)
    return factor(low), factor(high)


def _far(comparison: Comparison) -> tuple[str, str, str]:
    first = comparison.points[0]
    return factor(first.low / first.predicted), factor(first.high / first.predicted), share(covers(comparison))


# --- where it fails ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pick:
    """Choose timings by shell patterns, and by their batch size."""

    datasets: tuple[str, ...] = ANY
    families: tuple[str, ...] = ANY
    models: tuple[str, ...] = ANY
    precisions: tuple[str, ...] = ANY
    devices: tuple[str, ...] = ANY
    batches: tuple[float, float] = (1, math.inf)

    def __call__(self, p: Point) -> bool:
        """Tell whether *p* is meant."""
        names = p.dataset, p.family, p.model, p.precision, p.device
        patterns = self.datasets, self.families, self.models, self.precisions, self.devices
        return self.batches[0] <= p.batch <= self.batches[1] and all(map(matches, names, patterns))


@dataclass(frozen=True, slots=True)
class Suspect:
    """One thing that the model is believed to get wrong: predicted too *fast* or too slow, and why.

    It is reported while the timings of *pick* bear it out, beside those of *control*, where the cause is absent.
    """

    name: str
    why: str
    pick: Pick
    control: tuple[str, Pick] | None = None
    fast: bool = True
    guess: bool = True
    unseen: str = "network"

    def found(self, scores: Scores) -> Comparison:
        """Return the timings in question."""
        return getattr(scores.where(self.pick), self.unseen)

    def holds(self, scores: Scores) -> bool:
        """Tell whether the prediction of these timings is off, in the direction that is claimed."""
        comparison = self.found(scores)
        return comparison.n > 0 and off(comparison) > SYSTEMATIC and (comparison.bias < 1) == self.fast

    def line(self, scores: Scores) -> str:
        """Write name, figures and cause."""
        comparison, told = self.found(scores), ""
        if self.control:
            other = getattr(scores.where(self.control[1]), self.unseen)
            told = f"; {self.control[0]}: {factor(other.bias)} (n {other.n})"
        cause = f"Guess: {self.why[0].lower()}{self.why[1:]}" if self.guess else self.why
        return f"- **{self.name}**: {factor(comparison.bias)} (n {comparison.n}{told}). {cause}"


TIMM_GPU = ("timm-rtx*",)
EAGER = ("timm-rtx*-eager-*",)
NEWER = ("timm-rtx4090-eager-nchw", "timm-rtx4090-compiled")

SUSPECTS = (
    Suspect(
        "CaiT under torch.compile",
        "It mixes the heads of its attention maps with linear layers, so that each permuted map is copied before it is multiplied. In "
        "eager mode these copies are priced, in code of torch.compile they are not, though Inductor writes them: what it generates for a "
        "GPU moves 2.3 times the bytes that are predicted.",
        Pick(("timm-rtx4090-compiled", "timm-i9*"), ("cait",)),
        ("in eager mode", Pick(EAGER, ("cait",))),
    ),
    Suspect(
        "Attention that is not fused, in two tables of the RTX 4090",
        "Their blocks hand tensors of five or three dimensions to `scaled_dot_product_attention` (NesT, Hiera, Segment Anything). A later "
        "PyTorch made these tables; from 2.5 on, the composed path computes in fp32, and here it is priced in half precision.",
        Pick(NEWER, ("nest", "hiera", "vision_transformer_sam")),
        ("in the other tables of GPUs", Pick(("timm-rtx3090-*", "timm-rtx4090-eager-nhwc"), ("nest", "hiera", "vision_transformer_sam"))),
    ),
    Suspect(
        "Lambda networks in two tables of the RTX 4090",
        "Their positions come from a three-dimensional convolution of one input channel, whose algorithm depends on the version of cuDNN.",
        Pick(NEWER, models=("lambda_*", "lamhalo*")),
        ("on the RTX 3090", Pick(("timm-rtx3090-*",), models=("lambda_*", "lamhalo*"))),
    ),
    Suspect(
        "VOLO on GPUs",
        "Outlook attention unfolds its values and folds the results back (`im2col`, `col2im`). These run far from the copy bandwidth, and "
        "no other family tells how far.",
        Pick(TIMM_GPU, ("volo",)),
        ("on the i9", Pick(("timm-i9*",), ("volo",))),
    ),
    Suspect(
        "ConvMixer in nchw eager mode",
        "Depthwise windows this large are rare in the tables, so other networks tell little of them, and a library has many algorithms for "
        "them in nchw.",
        Pick(("timm-rtx*-eager-nchw",), ("convmixer",)),
        ("in channels-last", Pick(("timm-rtx*-nhwc",), ("convmixer",))),
        fast=False,
    ),
    Suspect(
        "Sequencer on the i9",
        "An LSTM is one op here, priced as one product; its time steps, which wait for each other, are not modelled.",
        Pick(("timm-i9*",), ("sequencer",)),
        ("on GPUs", Pick(TIMM_GPU, ("sequencer",))),
        guess=False,
    ),
    Suspect(
        "MixNet on the i9",
        "Its convolutions are split by channels into several sizes and concatenated again. torch.compile copies each part to its "
        "place in a loop of its own before a norm reads all of them, where one kernel is priced; copies priced as kernels of their "
        "own close a fifth of the gap. On two cores of an EPYC, PyTorch was seen to copy the channels that a convolution gets "
        "before 56 of MixNet-S's 124, which is priced on GPUs only; on 14 cores each copy may cost a start.",
        Pick(("timm-i9*",), models=("*mixnet_*",)),
        ("on GPUs", Pick(TIMM_GPU, models=("*mixnet_*",))),
    ),
    Suspect(
        "Networks of NVIDIA's tables at batch 1 to 8, but those with squeeze-excite",
        "The host sets the pace there. The times include loss and accuracy, which are no part of the network, and an op of "
        "squeeze-excite may cost the host less than one of its kind on average.",
        Pick(("nvidia-*",), models=("res*",), batches=(1, 8)),
        ("those with squeeze-excite", Pick(("nvidia-*",), models=("se*", "efficientnet*"), batches=(1, 8))),
    ),
    Suspect(
        "GhostNets and FasterNets in TensorRT",
        "They join halves whose channels are no multiples of 8, or what a convolution made with what it left alone. Engines are taken to "
        "write such parts in place; in fp16 they may copy them.",
        Pick(("kecam-t4*",), ("ghostnet", "fasternet")),
        ("ResNets there", Pick(("kecam-t4*",), ("resnet",))),
    ),
    Suspect(
        "ResNeXt-101 with groups of 4 channels in TensorRT at batch 1",
        "At batch 4 the same networks take 2.8 and 3.7 times as long, and DPN-68, whose grouped convolutions have the same shapes, takes "
        "longer for them at batch 1 too: TensorRT may have found a kernel there that it did not use elsewhere.",
        Pick(("paddleclas-v100*",), models=("resnext101_32x4d", "resnext101_64x4d"), batches=(1, 1)),
        ("at batch 8", Pick(("paddleclas-v100*",), models=("resnext101_32x4d", "resnext101_64x4d"), batches=(8, 8))),
        fast=False,
    ),
    Suspect(
        "MobileNetV2 in TensorRT on the V100 at batch 4 and 8",
        "The cause is not known.",
        Pick(("paddleclas-v100*",), models=("mobilenetv2_*",), batches=(4, 8)),
        ("on the T4", Pick(("paddle-t4*",), models=("mobilenetv2_*",))),
        guess=False,
    ),
    Suspect(
        "MixNet in TensorRT at batch 1",
        "Its depthwise convolutions are split into small ones, each priced as if it had the chip to itself; they may run side by side.",
        Pick(("paddleclas-v100*",), models=("mixnet_*",), batches=(1, 1)),
        ("at batch 8", Pick(("paddleclas-v100*",), models=("mixnet_*",), batches=(8, 8))),
        fast=False,
    ),
    Suspect(
        "int8 in TensorRT",
        "One source timed two networks in int8: with one of them left out, the other is all that a fit knows of int8.",
        Pick(("automl-*",), precisions=("int8",)),
        ("the same networks in fp16", Pick(("automl-*",), precisions=("fp16",))),
        guess=False,
    ),
    Suspect(
        "ResNets of MXNet on c5.18xlarge",
        "MXNet's table has three networks: with one of them and its fold left out, little or nothing of c5 is seen, nor how 36 cores "
        "share a small batch.",
        Pick(("mxnet-*",), models=("resnet*",), devices=("c5.18xlarge",)),
        ("on c5.2xlarge", Pick(("mxnet-*",), models=("resnet*",), devices=("c5.2xlarge",))),
        guess=False,
    ),
    Suspect(
        "The i9 as a device never measured",
        "How many of its cores worked is not recorded, and the only other CPU that was timed with torch.compile is two cores of an EPYC. "
        "(That the i9 ran PyTorch 2.2 and the EPYC 2.15 is not the cause: on the EPYC, 2.2 takes 1.1 to 1.4 times as long, ResNets as much "
        "as ConvNeXts.)",
        Pick(("timm-i9*",)),
        unseen="device",
    ),
    Suspect(
        "Networks with squeeze-excite in TensorRT on the T4, with the T4 never measured",
        "Most other small networks in engines come from TensorRT 8.0 on a V100; the T4's were made by a later one, which may join more of "
        "their small kernels. How long a kernel takes to start is lent by later releases alone, on an A100.",
        Pick(("kecam-*",), models=("tf_efficientnet_b[0-4]", "tf_mobilenetv3*", "mobilenetv3*", "tinynet*", "fbnetv3*")),
        ("ResNets", Pick(("kecam-*",), models=("resnet*", "resnext*"))),
        fast=False,
        unseen="device",
    ),
    Suspect(
        "EfficientNets under torch.compile on the RTX 4090, with the RTX 4090 never measured",
        "Nobody timed torch.compile on another GPU, so what it generates is taken to read as fast as elementwise kernels do.",
        Pick(("timm-rtx4090-compiled",), models=("efficientnet_b*", "tf_efficientnet_b*")),
        ("in eager mode", Pick(("timm-rtx4090-eager-nhwc",), models=("efficientnet_b*", "tf_efficientnet_b*"))),
        guess=False,
        unseen="device",
    ),
    Suspect(
        "Paddle's engines on the V100, with the V100 never measured",
        "Of engines in fp32, nine timings of three networks on a T4 are known then, and none of a grouped convolution.",
        Pick(("paddleclas-v100*",)),
        ("NVIDIA's in fp16", Pick(("automl-*",), precisions=("fp16",))),
        unseen="device",
    ),
)  # fmt: skip
"""Where the model was seen to fail, with what is known or guessed of the cause."""


def residuals(scores: Scores, count: int = 10, fewest: int = 4) -> str:
    """Tabulate the families that are farthest off in a data set, and whether a cause is listed."""
    held = used(scores)
    named = [s.pick for s in SUSPECTS if s.unseen == "network" and s.holds(held)]
    groups = {key: g for key, g in held.by(lambda p: f"`{p.dataset}`|{p.family}").items() if g.network.n >= fewest}
    ranked = sorted(groups, key=lambda key: (-off(groups[key].network), key))[:count]
    header = ("data set", "family", "n", "new network: bias", "p10 to p90", "new family: bias", "new device: bias", "listed below")
    return table(header, [_residual(key, groups[key], named) for key in ranked], words=2)


def _residual(key: str, g: Scores, named: Iterable[Pick]) -> tuple[str, ...]:
    low, high = np.quantile([p.ratio for p in g.points], [0.1, 0.9])
    listed = "yes" if any(any(map(pick, g.points)) for pick in named) else "no"
    biases = factor(g.family.bias), factor(g.device.bias)
    return (*key.split("|"), str(g.network.n), factor(g.network.bias), f"{low:.2f} to {high:.2f}", *biases, listed)


def suspects(scores: Scores) -> str:
    """List what is off by more than SYSTEMATIC, the farthest first, with the cause; then what was, and is not any more."""
    held = used(scores)
    holding = [s for s in SUSPECTS if s.holds(held)]
    ranked = sorted(holding, key=lambda s: -off(s.found(held)))
    rest = "; ".join(s.name for s in SUSPECTS if s not in holding)
    return "\n".join([*(s.line(held) for s in ranked), *([f"- Looked at too, and not off in that way now: {rest}."] if rest else [])])


# --- peers -------------------------------------------------------------------------------------------------------------


def nearest(keep: Callable[[Point], bool], *kinds: str) -> Callable[[Scores], str]:
    """Write the mean errors of the timings that *keep* keeps, with each of *kinds* left out."""

    def written(scores: Scores) -> str:
        held = used(scores).where(keep)
        return " and ".join(share(mean_error(getattr(held, kind))) for kind in kinds)

    return written


def close(scores: Scores) -> str:
    """Write the share of the convolutional networks that is predicted within 10 %."""
    return share(within(convolutional(used(scores)).network, 0.1))


PEERS: Mapping[str, Callable[[Scores], str]] = {
    "habitat": nearest(lambda p: is_gpu(p) and p.mode == "eager", "device"),
    "li": nearest(lambda p: is_gpu(p) and is_convolutional(p), "network", "device"),
    "neusight t4": nearest(lambda p: p.device == "t4", "network", "device"),
    "neusight v100": nearest(lambda p: p.device == "v100", "network", "device"),
    "transformers": nearest(lambda p: is_gpu(p) and not is_convolutional(p), "network"),
    "close": close,
}
"""The figures here that come nearest to what other predictors claim."""


TABLES: Mapping[str, Callable[[Scores], str]] = {
    "": summary, "counts": counts, "exclusions": exclusions,
    "convolutional": lambda s: by_dataset(convolutional(used(s))), "all": mixed, "apart": apart, "efficientnet": efficientnets,
    "conditions": by_condition, "families": by_family, "worst": worst_rows, "intervals": intervals, "residuals": residuals,
    "suspects": suspects, **PEERS,
}  # fmt: skip
"""What writes each block, by its name; the one without is in the README too."""


def filled(page: str, scores: Scores) -> str:
    """Fill every block of *page*: on lines of its own where its marker ends one, else where it stands."""

    def fill(block: re.Match[str]) -> str:
        text = TABLES[block[2] or ""](scores)
        return f"{block[1]}\n{text}\n{block[4]}" if block[3] else f"{block[1]}{text}{block[4]}"

    return BLOCK.sub(fill, page)


if __name__ == "__main__":
    sys.stdout.write(filled((DOCS / "accuracy.md").read_text(), read()))
