"""Describe what every kernel asks of the devices of a fleet before any efficiency is applied: seconds at their ceilings, and its shape."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from roofline.costmodel.calibration import CLASSES, FILLING
from roofline.costmodel.columns import Floats, Ints
from roofline.costmodel.demand import Bools, Demand
from roofline.costmodel.fleet import Fleet, engine_seconds, level_seconds, product_rate, slowest
from roofline.costmodel.formula import Efficiency
from roofline.units import BITS

_FILLING = {kind: np.array([name in names for name in CLASSES]) for kind, names in FILLING.items()}
_GROUPED = CLASSES.index("grouped")
_SPLIT = np.array([name in ("linear", "matmul") for name in CLASSES])

LANES = 32
"""Threads of a warp, as CUDA has them: they share a sum where a kernel multiplies a vector, which has too few results for all threads."""

SPLIT = 1024
"""Terms of its sum after which a result of a linear layer gets another block: few results fill a GPU if their sums are long.

Chosen by this project among 128 to 2,048 by 360 published timings of products timed alone on a T4 and V100s (DeepBench, NeuSight;
2026-11-23), which no fit saw: the logarithms of measured over predicted spread by 0.45 without, by 0.24 at 1,024 and 2,048, and by 0.29
at 128 (standard deviation around the median of each table).
"""

LATENCY = 100e-9
"""Seconds for which a byte from DRAM keeps one result of a product waiting on a GPU: about 600 ns until it comes, over 6 bytes in flight
for each result (Little's law, with both assumed).

Chosen by this project among 0, 50, 75, 100, 125, 150 and 200 ns by what fits to published timings of engines on a T4, V100 and A100 predict
of the one that they did not see (2026-11-23): off by 12.0, 11.7, 11.5, 11.5, 11.6, 11.8 and 12.2 % (mean).
"""

TILE = 4096
"""Results that a block of threads computes, 64 x 64 being common: it reads as much ahead where fewer are wanted."""

PACE = 1e12
"""FLOP/s in 16 bits of the matrix engines of one multiprocessor, about those of a V100, at which a Shape gives sides at half efficiency.

An instruction of a matrix engine takes as many bytes of each row whatever their type, and so twice as many numbers of 8 bits (PTX ISA,
`mma`: m16n8k16 in fp16, m16n8k32 in int8; recalled): what a sum waits for at each step, it waits for half as often.
"""

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
    copy bandwidths, in the slowest cache of a GPU and in all of a CPU, *latency* seconds in which products with few results wait for
    DRAM beside that; *bias* and *transpose* seconds of passes that run as kernels of their own, *fresh* bytes of memory that the system
    must clear first, *packed* bytes of weights that are laid out anew.
    *on_matrix* tells whether products use a matrix engine, *misaligned* whether their channels do not suit it. *depth* and
    *columns* are the inner and outer sides of the product, *pace* tells how many times faster than PACE its engine is, where what a
    small side loses takes as long on any. *outputs* are its results, or those of one of its groups, for each unit of the device,
    and on a matrix engine for each PACE of its speed: what hides the same delays must grow with the speed (Little's law). Results
    whose sum several threads or blocks share count as often. *huge* tells of images that are slow for their size, *chain* is
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
    latency: Floats
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
    pace = np.where(on_matrix, product_rate(asked, fleet) * _width(asked) / fleet.units / PACE, 1.0) if on_gpu else np.ones((1, 1, 1))
    side_by_side = asked.results * _shares(asked, fleet)
    return Workload(
        klass=asked.klass,
        matrix=matrix,
        vector=vector,
        shared=shared,
        on_matrix=on_matrix,
        misaligned=on_matrix & (asked.misaligned | (asked.ragged & eager_gpu)),
        dram=dram,
        cache=slowest(caches) if on_gpu else sum(caches, nothing),  # a core waits for one after another: the ECM model
        latency=_waited(asked, through[0], side_by_side) if on_gpu else nothing,
        bias=2 * asked.output_bytes * own_bias / copy if own_bias.any() else nothing,
        transpose=2 * _transposed(asked, on_matrix, fleet) / copy,
        fresh=nothing if on_gpu else asked.fresh,
        packed=asked.packed if fleet.kind == "cpu" and fleet.mode == "compiled" else nothing,
        depth=asked.depth,
        columns=asked.columns,
        pace=pace if _fixed_tiles(fleet) else np.ones((1, 1, 1)),
        outputs=side_by_side / fleet.units / pace,
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
    if fleet.kind == "gpu" and fleet.mode in ("eager", "compiled"):
        return (asked.read_bytes + asked.output_bytes) * (on_matrix & asked.reordered)
    if fleet.kind == "cpu" and fleet.mode == "compiled" and asked.unseen.any():
        return 2 * (asked.read_bytes + asked.output_bytes) * asked.unseen
    return np.zeros((1, 1, 1))


def _fixed_tiles(fleet: Fleet) -> bool:
    """Tell whether what small sides lose takes as long on faster matrix engines: what a tile waits for as it begins and ends does.

    An inference engine tries kernels of many tiles for each layer, and keeps the fastest.
    """
    return fleet.kind == "gpu" and fleet.mode in ("eager", "compiled")


def _width(asked: Demand) -> Floats:
    """Bits of what each product multiplies, in units of 16."""
    return np.array([BITS[t] / 16 for t in asked.matrix_types])[asked.matrix_code]


def _waited(asked: Demand, from_dram: Floats, side_by_side: Floats) -> Floats:
    """Seconds that products wait for DRAM beside what its bandwidth takes, as few results have few bytes in flight.

    A product with a vector reads its matrix as elementwise kernels do, with all threads.
    """
    reading = np.maximum(side_by_side * asked.groups, TILE)
    return np.where(_FILLING["gpu"][asked.klass] & ~asked.vectors, LATENCY * from_dram / reading, 0.0)


def _shares(asked: Demand, fleet: Fleet) -> Floats | float:
    """How many share the sum of each result on a GPU: blocks, one for SPLIT terms of a linear layer, or LANES of a vector in an engine.

    Tables of TensorRT on a T4 and a V100 tell of lanes: had each result one thread, networks with squeeze-excites would take longer at
    batch 1 than they do, and not at batch 4 or 8.
    """
    if fleet.kind == "cpu":
        return 1.0
    blocks = np.where(_SPLIT[asked.klass], np.maximum(asked.depth / SPLIT, 1.0), 1.0)
    lanes = np.where(asked.vectors, np.clip(asked.depth, 1, LANES), 1.0) if fleet.mode in ("engine", "ideal") else 1.0
    return np.maximum(blocks, lanes)


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
