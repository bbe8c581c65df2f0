"""Parameters and multiply-accumulates of EfficientNets beside those of networks of like accuracy."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from roofline import units
from roofline.costmodel.analysis import Analysis
from roofline.studies import accuracy
from roofline.studies.families import CURATED
from roofline.studies.setting import Setting, devices
from trials.networks import ALL, EFFICIENTNETS
from trials.verdict import Bar, Case, Claim, Estimate, Part, Table

ORDER = Bar(least=math.sqrt(10))
"""An order of magnitude is a factor of 10 to the nearest power of ten."""

LIKE = 1.5
"""Points of top-1 by which a network may be less accurate than the EfficientNet beside it."""

BEFORE = ("ResNet", "SENet", "DenseNet", "Inception", "architecture search", "VGG and AlexNet")
"""Families of CURATED that were published before EfficientNets were, in May 2019."""

PAPER_RATIO = 556 / 66
"""Parameters of the AmoebaNet-B of GPipe over those of EfficientNet-B7, as Tan and Le print them (table 2)."""


@dataclass(frozen=True)
class Scored:
    """A network with the top-1 (percent) of some weights of it, and its counts an image."""

    name: str
    top1: float
    image_size: int
    params: int
    macs: float


def claim(names: Sequence[str] = ALL) -> Claim:
    """Try whether EfficientNets have an order of magnitude fewer parameters and MACs at like accuracy; exact counts."""
    then = [_curated(name, weights, px) for family in ("EfficientNet", *BEFORE) for name, weights, px in CURATED[family] if name in names]
    others = [name for name in names if name not in EFFICIENTNETS and "efficientnet" not in name]
    now = [s for name in (*EFFICIENTNETS, *others) if name in names and (s := _best(name))]
    old, new = list(_pairs(then)), list(_pairs(now))
    b7, giant = (next((s for s in then if s.name == name), None) for name in ("efficientnet_b7", "amoebanet_b_18_512"))
    parts = [
        Part("fewer parameters than networks published before it", "parameters, rival / EfficientNet", ORDER, _cases(old, "params"), "1a"),
        Part("fewer FLOPs than networks published before it", "MACs, rival / EfficientNet", ORDER, _cases(old, "macs"), "1a"),
        Part(
            "fewer parameters than any, each with its best recipe", "parameters, rival / EfficientNet", ORDER, _cases(new, "params"), "1b"
        ),
        Part("fewer FLOPs than any, each with its best recipe", "MACs, rival / EfficientNet", ORDER, _cases(new, "macs"), "1b"),
    ]
    if b7 and giant:
        alone = Case({"EfficientNet": _short(b7), "rival": giant.name}, Estimate.exact(giant.params / b7.params))
        bar = Bar(PAPER_RATIO * 0.99, PAPER_RATIO * 1.01)
        parts.insert(0, Part("B7 has 66 M parameters where AmoebaNet-B has 556 M", "parameters, AmoebaNet-B / B7", bar, (alone,), "1a"))
    return Claim(
        "Fewer parameters and FLOPs",
        "EfficientNets have an order of magnitude fewer parameters and FLOPs than networks of like ImageNet accuracy: B7 has 66 M "
        "parameters, the AmoebaNet-B of GPipe 556 M.",
        "Tan and Le, EfficientNet, 2019, abstract and table 2, https://arxiv.org/abs/1905.11946; Huang et al., GPipe, 2018, "
        "https://arxiv.org/abs/1811.06965",
        tuple(parts),
        (
            _table("1a. Networks published before, with the weights of their authors' recipe", old),
            _table("1b. Every network, with its best published weights that saw ImageNet-1k alone", new),
        ),
        (*_says("against networks published before", old), *_says("against each network with its best recipe", new)),
    )


def _curated(name: str, weights: str, px: int) -> Scored:
    return _scored(name, accuracy.by_weights()[weights, px].top1, px)


def _best(name: str) -> Scored | None:
    rows = [row for row in map(accuracy.best, (name, f"tf_{name}")) if row is not None]
    best = max(rows, key=lambda row: row.top1, default=None)
    return _scored(name, best.top1, best.image_size) if best else None


def _scored(name: str, top1: float, px: int) -> Scored:
    a: Analysis = Setting().price(name, devices(["t4"]), px)[0]
    return Scored(name, top1, px, a.params, a.macs)


def _pairs(scored: Sequence[Scored]) -> Iterator[tuple[Scored, Scored]]:
    """Put each other network beside the smallest EfficientNet that is as accurate, where one is and by LIKE points at most."""
    own = sorted((s for s in scored if s.name in EFFICIENTNETS), key=lambda s: s.macs)
    for rival in sorted((s for s in scored if s.name not in EFFICIENTNETS), key=lambda s: s.top1):
        match = next((s for s in own if s.top1 >= rival.top1), None)
        if match and match.top1 - rival.top1 <= LIKE:
            yield match, rival


def _cases(pairs: Sequence[tuple[Scored, Scored]], count: str) -> tuple[Case, ...]:
    return tuple(
        Case({"EfficientNet": _short(own), "rival": rival.name}, Estimate.exact(getattr(rival, count) / getattr(own, count)))
        for own, rival in pairs
    )  # fmt: skip


def _short(s: Scored) -> str:
    return s.name.removeprefix("efficientnet_").upper()


def _table(title: str, pairs: Sequence[tuple[Scored, Scored]]) -> Table:
    def cells(s: Scored) -> tuple[str, ...]:
        return f"{s.top1:.1f}", str(s.image_size), units.scaled(s.params, ""), units.scaled(s.macs, "")

    rows = [
        (rival.name, *cells(rival), _short(own), *cells(own),
         f"{rival.params / own.params:.1f}", f"{rival.macs / own.macs:.1f}")
        for own, rival in pairs
    ]  # fmt: skip
    header = ("rival", "top-1", "px", "params", "MACs", "EfficientNet", "top-1", "px", "params", "MACs", "params x", "MACs x")
    return Table(title, header, rows, f"Beside each rival stands the smallest EfficientNet that is at least as accurate, by {LIKE:g} "
                 "points of top-1 at most; rivals without one are left out.")  # fmt: skip


def _says(what: str, pairs: Sequence[tuple[Scored, Scored]]) -> Iterator[str]:
    for count, word in (("params", "parameters"), ("macs", "MACs")):
        found = sorted(getattr(rival, count) / getattr(own, count) for own, rival in pairs)
        if found:
            full = sum(x >= 10 for x in found)
            yield (f"{what}, rivals have {found[0]:.1f} to {found[-1]:.1f} times the {word} (median {found[len(found) // 2]:.1f}); "
                   f"{full} of {len(found)} reach a full factor of 10")  # fmt: skip
