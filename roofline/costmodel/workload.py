"""Describe what every kernel asks of the devices of a fleet before any efficiency is applied: seconds at their ceilings, and its shape."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from roofline.costmodel.calibration import CLASSES, FILLING
from roofline.costmodel.columns import Floats, Ints
from roofline.costmodel.demand import Bools, Demand
from roofline.costmodel.fleet import Fleet, engine_seconds, level_seconds, product_rate, slowest
from roofline.costmodel.formula import Efficiency

_FILLING = {kind: np.array([name in names for name in CLASSES]) for kind, names in FILLING.items()}
_GROUPED = CLASSES.index("grouped")

LANES = 32
"""Threads of a warp, as CUDA has them: they share a sum where a kernel multiplies a vector, which has too few results for all threads."""

PACE = 1e12
"""FLOP/s of the matrix engines of one multiprocessor, about those of a V100, at which a Shape gives sides at half efficiency."""

STEP = 263e-9
"""Seconds in which a thread of PyTorch's `upsample_bilinear2d` takes a pixel of one more image or channel: it waits for memory.

In nchw there is a thread for each pixel of the result, which takes all images and channels in turn (UpSampleBilinear2d.cu, recalled).
Fitted by this project to 12 published timings of three EfficientFormerV2 (timm, 2026-11-23), of which this kernel takes most: 243 ns on an
RTX 4090, 284 ns on an RTX 3090, with a spread of 1 % on each.
"""

BLOCK = 120e-9
"""Seconds in which a multiprocessor takes another row of a layer norm: PyTorch gives each row a block of threads, however short it is
(layer_norm_kernel.cu, recalled).

That is 1.4 us for a block, of which 12 run side by side. Chosen by this project among 85, 120 and 170 ns by what fits to published timings
(timm, 2026-11-23) say of 1,300 in eager mode on an RTX 3090 and 4090, of networks that they had not seen: off by 5.0, 4.9 and 4.9 % (mean).
"""


@dataclass(frozen=True, eq=False)
class Workload:
    """What each kernel asks of each device: arrays that broadcast to (devices, batches, kernels).

    *matrix* and *vector* are seconds of its FLOPs at the ceilings of the engines, *dram* and *cache* seconds of its bytes at the
    copy bandwidths, in the slowest cache of a GPU and in all of a CPU; *bias* and *transpose* seconds of passes that run as kernels
    of their own, *fresh* bytes of memory that the system must clear first, *packed* bytes of weights that are laid out anew.
    *on_matrix* tells whether products use a matrix engine, *misaligned* whether their channels do not suit it. *depth* and
    *columns* are the inner and outer sides of the product, *pace* tells how many times faster than PACE its engine is, where what a
    small side loses takes as long on any. *outputs* are its results, or those of one of its groups, for each unit of the device,
    and on a matrix engine for each PACE of its speed: what hides the same delays must grow with the speed (Little's law). Results
    of which a warp computes each count LANES times. *huge* tells of images that are slow for their size, *chain* is
    seconds that no kernel can be faster than, as a thread or a multiprocessor has so many results to compute in turn, *launches* counts the
    kernels the device starts, *others* the cores beside the first (0 on a GPU).
    """

    klass: Ints
    matrix: Floats
    vector: Floats
    shared: Bools
    on_matrix: Bools
    misaligned: Bools
    dram: Floats
    cache: Floats
    bias: Floats
    transpose: Floats
    fresh: Floats
    packed: Floats
    depth: Floats
    columns: Floats
    pace: Floats
    outputs: Floats
    huge: Bools
    chain: Floats
    launches: Floats
    ops: Ints
    views: Ints
    others: Floats


def describe(asked: Demand, through: Sequence[Floats], fleet: Fleet) -> Workload:
    """Put kernels, whose bytes come *through* the levels, on every device; UnsupportedError if one lacks a data type."""
    matrix, vector, shared, on_matrix = engine_seconds(asked, fleet)
    dram, *caches = level_seconds(through, fleet)
    copy, on_gpu, nothing = fleet.copy, fleet.kind == "gpu", np.zeros((1, 1, 1))
    eager_gpu = on_gpu and fleet.mode == "eager"
    own_bias = asked.biased if eager_gpu else np.zeros_like(asked.biased)
    launches: Floats = np.minimum(asked.ops, 1) * np.where(own_bias, 2.0, 1.0)
    pace = np.where(on_matrix, product_rate(asked, fleet) / fleet.units / PACE, 1.0) if on_gpu else np.ones((1, 1, 1))
    return Workload(
        klass=asked.klass,
        matrix=matrix,
        vector=vector,
        shared=shared,
        on_matrix=on_matrix,
        misaligned=on_matrix & (asked.misaligned | (asked.ragged & eager_gpu)),
        dram=dram,
        cache=slowest(caches) if on_gpu else sum(caches, nothing),  # a core waits for one after another: the ECM model
        bias=2 * asked.output_bytes * own_bias / copy if own_bias.any() else nothing,
        transpose=2 * _transposed(asked, on_matrix, fleet) / copy,
        fresh=nothing if on_gpu else asked.fresh,
        packed=asked.packed if fleet.kind == "cpu" and fleet.mode == "compiled" else nothing,
        depth=asked.depth,
        columns=asked.columns,
        pace=pace if _fixed_tiles(fleet) else np.ones((1, 1, 1)),
        outputs=asked.results * _lanes(asked, fleet) / fleet.units / pace,
        huge=asked.huge & eager_gpu,
        chain=np.maximum(STEP * asked.steps, BLOCK * asked.normed / fleet.units) if eager_gpu else nothing,
        launches=np.where(on_matrix, launches, launches * asked.groups) if _by_group(fleet) else launches,
        ops=asked.ops,
        views=asked.views,
        others=nothing if on_gpu else fleet.units - 1,
    )


def _transposed(asked: Demand, on_matrix: Bools, fleet: Fleet) -> Floats:
    """Bytes that are transposed before and after a product: each is read and written.

    On a GPU, eager PyTorch does so with images in nchw, for matrix engines. On a CPU, oneDNN does so in code that torch.compile made,
    with an image whose layout it does not see; that image was copied to plain layout before, and what reads the result turns it back.
    """
    if fleet.kind == "gpu" and fleet.mode == "eager":
        return (asked.read_bytes + asked.output_bytes) * (on_matrix & asked.reordered)
    if fleet.kind == "cpu" and fleet.mode == "compiled" and asked.unseen.any():
        return 2 * (asked.read_bytes + asked.output_bytes) * asked.unseen
    return np.zeros((1, 1, 1))


def _fixed_tiles(fleet: Fleet) -> bool:
    """Tell whether what small sides lose takes as long on faster matrix engines: what a tile waits for as it begins and ends does.

    An inference engine tries kernels of many tiles for each layer, and keeps the fastest.
    """
    return fleet.kind == "gpu" and fleet.mode in ("eager", "compiled")


def _lanes(asked: Demand, fleet: Fleet) -> Floats | float:
    """Threads that share the sum of each result: LANES where an engine on a GPU multiplies one vector, and has as much to add up.

    Tables of TensorRT on a T4 and a V100 say so: had each result one thread, networks with squeeze-excites would take longer at batch 1
    than they do, and not at batch 4 or 8.
    """
    tuned = fleet.kind == "gpu" and fleet.mode in ("engine", "ideal")
    return np.where(asked.vectors, np.clip(asked.depth, 1, LANES), 1.0) if tuned and asked.vectors.any() else 1.0


def _by_group(fleet: Fleet) -> bool:
    """Tell whether a product on the vector engines starts a kernel for each of its groups: in an inference engine on a GPU.

    A published table of TensorRT in fp32 on a V100 says so: beside the rest of these networks, each of the 298 to 1,750 groups of
    RegNetX-4.0GF and four DPNs takes 8 to 21 us, at batch 8 hardly longer than at batch 1. Those of ResNeXt-101 take 10 us at batch 8,
    and 1 to 2 us at batch 1, where another kernel must have been found.
    """
    return fleet.kind == "gpu" and fleet.mode == "engine"


def efficiency(workload: Workload, fleet: Fleet) -> Efficiency:
    """Look up the parameters of every device for each kernel."""
    memory, vector, matrix = (table.take(workload.klass, axis=-1) for table in fleet.efficiencies[:3])
    on_matrix, grouped, scalars = workload.on_matrix, workload.klass == _GROUPED, fleet.parameters
    kept = np.where(workload.huge, scalars["huge"], 1.0) if workload.huge.any() else 1.0
    sizes = {name: np.where(on_matrix, *fleet.shapes[name]) for name in ("depth", "columns", "outputs")}
    if grouped.any():
        for name in ("columns", "outputs"):
            sizes[name] = np.where(grouped, np.where(on_matrix, *fleet.shapes[f"group_{name}"]), sizes[name])
        narrow = grouped & workload.misaligned
        sizes["columns"] = np.where(narrow, sizes["columns"] / fleet.shapes["misaligned_groups"][0], sizes["columns"])
    return Efficiency(
        memory=memory * kept,
        product=np.where(on_matrix, matrix, vector) * kept,
        vector=vector,
        depth=sizes["depth"],
        columns=sizes["columns"],
        alignment=np.where(workload.misaligned, fleet.shapes["misaligned"][0], 1.0),
        outputs=np.where(_FILLING[fleet.kind][workload.klass], sizes["outputs"], 0.0),
        cache=scalars["cache"],
        bias=scalars["bias"],
        transpose=scalars["transpose"],
        fresh=scalars["fresh"],
        packing=scalars["packing"],
        crowd=1 + scalars["serial"] * workload.others,
    )
