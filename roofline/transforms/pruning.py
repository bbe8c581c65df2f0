"""Turn a graph into the same graph with fewer channels: what a network pruned by whole channels, or trained narrower, runs.

Channels that must stay together (see `channels.py`) lose the same share. Inputs and outputs of the network stay, and so does
whatever an op without a rule reads.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from roofline.graph import Graph
from roofline.transforms.channels import Size
from roofline.transforms.flow import RETURNED, Flow, follow
from roofline.transforms.selection import Where

_PROBE = 7919
"""Batch size at which sizes are followed: a prime larger than any factor of other sizes, so that none is mistaken for the batch."""


@dataclass(frozen=True, slots=True)
class Share:
    """How much to prune: the *ratio* of channels to drop; what is left is rounded to a *multiple*."""

    ratio: float
    multiple: int = 8


def prune(graph: Graph, share: Share, where: Where) -> Graph:
    """Drop channels that the dense convolutions and linear layers chosen make, wherever they are read or passed on."""
    probe = _probed(graph)
    flow = follow(probe)
    counts = {**dict(enumerate(flow.sets.counts)), **_smaller(flow, share, where)[0]}

    def count(size: Size) -> int:
        return sum(counts[name] * times for name, times in flow.sets.terms(size))

    tensors = tuple(replace(t, shape=tuple(map(count, flow.shapes[t.id]))) if t.id in flow.shapes else t for t in probe.tensors)
    ops = tuple(
        replace(op, attrs={**op.attrs, **{name: value(count) for name, value in flow.attrs[op.id].items()}}) if op.id in flow.attrs else op
        for op in probe.ops
    )
    pruned = replace(probe, tensors=tensors, ops=ops)
    return pruned if graph.batch is None else pruned.with_batch(graph.batch)


def left_alone(graph: Graph, share: Share, where: Where) -> Iterator[str]:
    """Name layers that keep all channels they make, and why; those that make what the network returns are not worth a word."""
    flow = follow(_probed(graph))
    smaller, kept = _smaller(flow, share, where)
    if not smaller:
        yield "no channel could be dropped"
    reasons: dict[str, list[str]] = {}
    for op, size in flow.made:
        names = [name for name, _ in flow.sets.terms(size)]
        why = next((kept[name] for name in names if name in kept), RETURNED)
        if where(op.module) and smaller.keys().isdisjoint(names) and why != RETURNED:
            reasons.setdefault(why, []).append(op.module or op.name)
    for why, layers in reasons.items():
        others = f" and {len(layers) - 1} more" if len(layers) > 1 else ""
        yield f"{layers[0]}{others} left alone ({why})"


def _probed(graph: Graph) -> Graph:
    return graph if graph.batch is None else graph.with_batch(_PROBE)


def _smaller(flow: Flow, share: Share, where: Where) -> tuple[Mapping[int, int], Mapping[int, str]]:
    """Find the new size of each set of channels that can shrink, and why each other must stay."""
    terms = [(op, [name for name, _ in flow.sets.terms(size)]) for op, size in flow.made]
    kept: dict[int, str] = dict(flow.sets.fixed)
    for op, names in terms:
        if not where(op.module):
            for name in names:
                kept.setdefault(name, f"shared with {op.module}, which is not chosen")
    widths = _widths(flow)
    found: dict[int, int] = {}
    for name in {name for op, names in terms if where(op.module) for name in names} - kept.keys():
        step = share.multiple // math.gcd(share.multiple, widths.get(name, 1))
        count = rounded(flow.sets.counts[name] * (1 - share.ratio), step)
        if count < flow.sets.counts[name]:
            found[name] = count
        else:
            kept[name] = "too narrow for the multiple"
    return found, kept


def _widths(flow: Flow) -> dict[int, int]:
    """Largest number of channels by which the dimensions that hold a set shrink, for each one that it loses."""
    found: dict[int, int] = {}
    for op, size in flow.made:
        for shape in (size, *flow.shapes[op.inputs[0]], *flow.shapes[op.outputs[0]]):
            for name, times in flow.sets.terms(shape):
                found[name] = math.gcd(found.get(name, 0), times)
    return found


def rounded(target: float, step: int) -> int:
    """Round *target* to a multiple of *step*, at least one and no less than nine tenths of it, as width multipliers do.

    The rule is `make_divisible` of MobileNet (github.com/tensorflow/models, slim/nets/mobilenet: recalled).
    """
    nearest = max(step, int(target + step / 2) // step * step)
    return nearest + step if nearest < 0.9 * target else nearest
