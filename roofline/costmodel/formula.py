"""Combine a workload with efficiencies into seconds: the formula that predictions use and that fits turn around.

It reads arrays of NumPy or tensors of PyTorch alike: arithmetic, and `where`, `maximum` and `minimum` of the module given.
"""

from dataclasses import dataclass
from typing import Any

_TINY = 1e-30


@dataclass(frozen=True, slots=True)
class Efficiency:
    """Parameters of a calibration as each kernel meets them: arrays that broadcast against those of its workload.

    *product* is the share of its engine's ceiling that products reach, *vector* that of all other work. *depth*, *columns*
    and *outputs* are sizes at half efficiency; *fresh* and *packing* are rates in B/s. *crowd* is
    how many times slower cores get by sharing.
    """

    memory: Any
    product: Any
    vector: Any
    depth: Any
    columns: Any
    alignment: Any
    outputs: Any
    cache: Any
    bias: Any
    transpose: Any
    fresh: Any
    packing: Any
    crowd: Any


@dataclass(frozen=True, slots=True)
class Parts:
    """Seconds of *compute* with the whole device at work, of *memory*, of passes in kernels of their own, and the *fill*."""

    compute: Any
    memory: Any
    passes: Any
    fill: Any
    matrix: Any
    other: Any


def parts(ask: Any, e: Efficiency, xp: Any) -> Parts:
    """Price each roof of every kernel of *ask*, a Workload or its fields as tensors; *xp* is the module of its arrays, numpy or torch."""
    shape = ask.depth / (ask.depth + e.depth) * ask.columns / (ask.columns + e.columns)
    paced = shape / (shape + ask.pace * (1 - shape))  # the seconds that the shape costs do not shrink with a faster engine
    products = e.crowd * ask.matrix / (e.product * paced * e.alignment)
    other = e.crowd * ask.vector / e.vector
    outputs = ask.outputs + _TINY
    return Parts(
        compute=xp.where(ask.shared, products + other, xp.maximum(products, other)),
        memory=e.crowd * xp.maximum(ask.dram, ask.cache / e.cache) / e.memory + ask.latency,
        passes=e.crowd * (ask.bias / e.bias + ask.transpose / e.transpose + ask.packed / e.packing) + ask.fresh / e.fresh,
        fill=outputs / (outputs + e.outputs),
        matrix=products,
        other=other,
    )


def filled(found: Parts, ask: Any, xp: Any) -> Any:
    """Join the roofs of every kernel of *ask*, as far as it fills the chip; its longest thread takes no less time."""
    return xp.maximum(joined(found.compute / found.fill, found.memory, xp), ask.chain)


def joined(one: Any, other: Any, xp: Any) -> Any:
    """Join two roofs by the norm of exponent 4: at least the longer, and 19 % more where they are equal, as overlap is not perfect."""
    longer, shorter = xp.maximum(one, other) + _TINY, xp.minimum(one, other)
    ratio = shorter / longer
    square = ratio * ratio
    return longer * xp.sqrt(xp.sqrt(1 + square * square))
