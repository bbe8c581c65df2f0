"""Say what kernels ask of any device: class, arithmetic, shape, and the bytes that come from farther away than a cache holds.

The class of a kernel says which implementation a library runs for it: engine, window, stride and what is read again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from roofline.cost import KINDS
from roofline.costmodel.allocator import Process, asked_anew, filters
from roofline.costmodel.calibration import CLASSES
from roofline.costmodel.columns import Columns, Floats, Ints
from roofline.units import BITS

Bools = NDArray[np.bool_]

HUGE = 2.0**31
"""Elements that offsets of 32 bits do not reach."""

_BY_KIND = {
    "conv": "conv 3x3", "pointwise conv": "pointwise", "depthwise conv": "depthwise 3", "grouped conv": "grouped",
    "compare": "elementwise", "pool": "window pool",
}  # fmt: skip
_CLASS_OF_KIND = np.array([CLASSES.index(_BY_KIND.get(kind, kind if kind in CLASSES else "other")) for kind in KINDS])
_GROUPED, _POINTWISE, _DEPTHWISE, _RESIZE, _LAYER_NORM = (
    KINDS.index(kind) for kind in ("grouped conv", "pointwise conv", "depthwise conv", "resize", "layer norm")
)
_TRANSPOSED = np.array([kind in ("conv", "pointwise conv", "grouped conv") for kind in KINDS])
_MULTIPLIED = np.array([kind in ("pointwise conv", "linear", "matmul") for kind in KINDS])
_DENSE = np.array([kind == "conv" for kind in KINDS])

_BY_KERNEL = ("klass", "matrix_code", "vector_code", "pruned", "misaligned", "ragged", "reordered", "biased", "views", "groups")
_BY_BATCH = (
    "ops", "matrix_flops", "vector_flops", "depth", "columns", "results", "vectors", "unseen", "read_bytes", "output_bytes", "huge",
    "steps", "normed", "fresh", "packed",
)  # fmt: skip
_BY_DISTANCE = ("through", "least")


@dataclass(frozen=True, eq=False)
class Demand:
    """What each kernel asks of any device: (kernels,) arrays, and *ops* and from *matrix_flops* on (batches, kernels).

    *klass* is a position in CLASSES; the codes are positions in *matrix_types* and *vector_types*, of which products use
    *product_types*. *misaligned* tells whether channels do not suit a matrix engine, *ragged* whether maps do not that are
    multiplied where they lie, *reordered* whether a product reads an image through a window, *biased* whether a bias is added;
    *groups* are those of a grouped convolution, else 1.
    *depth* and *columns* are the inner and outer sides of the product, in one row where the batch does not matter, and *results*
    what it, or one of its groups, computes side by side; *vectors* tells of products that multiply one row, as a convolution whose
    window is its whole map does with one image, *unseen* of single images whose layout compiled code hides, *huge* of depthwise
    images that are HUGE, *steps* how many results one thread computes in turn where a library leaves it so, *normed* the rows of a
    layer norm; *read_bytes* are activations, *fresh* are the bytes of new memory that a CPU's system must clear first, *packed* the
    weights of convolutions. *through* holds the bytes that come from beyond caches as large as each of *distances*, *least* those
    that must, as such a cache cannot hold so much: (distances, batches, kernels).
    """

    klass: Ints
    matrix_code: Ints
    vector_code: Ints
    pruned: Bools
    misaligned: Bools
    ragged: Bools
    reordered: Bools
    biased: Bools
    ops: Ints
    views: Ints
    groups: Floats
    matrix_flops: Floats
    vector_flops: Floats
    depth: Floats
    columns: Floats
    results: Floats
    vectors: Bools
    unseen: Bools
    read_bytes: Floats
    output_bytes: Floats
    huge: Bools
    steps: Floats
    normed: Floats
    fresh: Floats
    packed: Floats
    through: Floats
    least: Floats
    distances: tuple[float, ...]
    matrix_types: tuple[str, ...]
    vector_types: tuple[str, ...]
    product_types: frozenset[str]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of batches and of kernels."""
        return self.matrix_flops.shape

    def take(self, kernels: Ints) -> "Demand":
        """Return the demand of some kernels, by position."""
        return replace(self, **{name: np.take(getattr(self, name), kernels, axis=-1) for name in (*_BY_KERNEL, *_BY_BATCH, *_BY_DISTANCE)})

    def distinct(self) -> tuple["Demand", Ints]:
        """Return the demand of all kernels that differ in it, and for each kernel the position of its own: networks repeat blocks."""
        arrays = (np.asarray(getattr(self, name), dtype=np.float64) for name in (*_BY_KERNEL, *_BY_BATCH, *_BY_DISTANCE))
        table = np.concatenate([array.reshape(-1, self.shape[1]) for array in arrays]).T.copy()
        first, which = _numbered(table)
        return self.take(first), which


def demand(columns: Columns, distances: Sequence[float], process: Process | None = None) -> Demand:
    """Read what the kernels of *columns* ask, with the bytes that come from farther away than each of *distances*.

    *process* runs them where they run on a CPU; without one, no memory is asked for.
    """
    (matrix_types, matrix_code), (vector_types, vector_code) = columns.matrix_types, columns.vector_types
    through, least = _through(columns, distances)
    groups = np.where(grouped(columns), columns.groups[0], 1.0)
    in_rows = ~columns.channels_last & (columns.matrix_flops[0] > 0)
    in_place = in_rows & (columns.kind == _POINTWISE) & (columns.stride[0] <= 1) & _turned_on_load(matrix_types)[matrix_code]
    return Demand(
        klass=classify(columns),
        matrix_code=matrix_code,
        vector_code=vector_code,
        pruned=columns.pruned,
        misaligned=_misaligned(columns),
        ragged=in_place & _ragged(columns),
        reordered=in_rows & _TRANSPOSED[columns.kind] & ~in_place,
        biased=(columns.bias[0] > 0) & (columns.ops == 1),  # a merged kernel adds it on the way
        ops=columns.ops * columns.present,
        views=columns.views,
        groups=groups,
        matrix_flops=columns.matrix_flops,
        vector_flops=columns.vector_flops,
        depth=_alike(columns.depth),
        columns=_alike(np.where(_by_vector(columns), columns.rows, columns.columns)),
        results=columns.results / groups,
        vectors=(_MULTIPLIED | _DENSE)[columns.kind] & (columns.rows == 1),
        unseen=_unseen(columns),
        read_bytes=columns.input_bytes,
        output_bytes=columns.output_bytes,
        huge=huge(columns),
        steps=np.where((columns.kind == _RESIZE) & ~columns.channels_last & (columns.columns > 1), columns.columns, 0.0),
        normed=np.where(columns.kind == _LAYER_NORM, columns.rows, 0.0),
        fresh=asked_anew(columns, process) if process else np.zeros_like(columns.macs),
        packed=filters(columns),
        through=through,
        least=least,
        distances=tuple(distances),
        matrix_types=matrix_types,
        vector_types=vector_types,
        product_types=columns.product_types,
    )


def _numbered(table: Floats) -> tuple[Ints, Ints]:
    """Number the rows of *table* that differ: the position of the first of each number, and the number of every row."""
    known: dict[bytes, int] = {}
    which = np.array([known.setdefault(row.tobytes(), len(known)) for row in table], dtype=np.int64)
    return np.unique(which, return_index=True)[1].astype(np.int64, copy=False), which


def _alike(values: Floats) -> Floats:
    """Keep one row of *values* where the batch does not matter."""
    return values[:1] if (values == values[:1]).all() else values


def classify(columns: Columns) -> Ints:
    """Give the position in CLASSES of every kernel."""
    found = _CLASS_OF_KIND[columns.kind]
    taps, strided = columns.taps[0], columns.stride[0] > 1
    reads, written = columns.input_bytes[0], columns.output_bytes[0]

    def name(kind: str, mask: Bools, label: str) -> None:
        found[(columns.kind == KINDS.index(kind)) & mask] = CLASSES.index(label)

    name("conv", taps != 9, "conv wide")
    name("conv", strided, "conv strided")
    name("conv", columns.rows[0] == columns.batches[0], "linear")  # one window an image, mostly all of it
    name("pointwise conv", strided, "pointwise strided")
    name("depthwise conv", taps > 9, "depthwise 5")
    name("depthwise conv", taps > 25, "depthwise 7")
    name("depthwise conv", taps > 49, "depthwise wide")
    name("elementwise", (reads > written) & (reads < 1.5 * written), "broadcast")  # one operand smaller than the result
    name("pool", (reads > 8 * written) & ~strided, "global pool")
    found[_by_vector(columns)] = CLASSES.index("reduction")
    return found


def _by_vector(columns: Columns) -> Bools:
    """Tell which products are those of a matrix and a vector, of one column: libraries read the matrix once, and fill no tile."""
    return _MULTIPLIED[columns.kind] & (columns.columns[0] == 1)


def huge(columns: Columns) -> Bools:
    """Tell which depthwise convolutions in channels-last read or write an image of HUGE numbers or more: (batches, kernels)."""
    return columns.channels_last & (columns.kind == _DEPTHWISE) & (columns.outputs * columns.stride**2 >= HUGE)


def _unseen(columns: Columns) -> Bools:
    """Tell which convolutions get one image, turned by a view, and weights that look the same in any layout: (batches, kernels).

    torch.compile hands such a view of a result to a convolution with a stride of 0 over its only image, by which PyTorch does not
    recognise channels-last (`is_channels_last_strides_2d`); so it looks at the weights, and a window of one pixel or one channel does
    not tell. It copies the image to plain layout, and leaves the result in it.
    """
    alike = (columns.kind == _POINTWISE) | (columns.kind == _DEPTHWISE)
    return columns.turned & alike


def grouped(columns: Columns) -> Bools:
    """Tell which kernels are grouped convolutions, depthwise ones apart."""
    return columns.kind == _GROUPED


def _turned_on_load(types: Sequence[str]) -> Bools:
    """Tell the types of which a matrix engine can load a map that lies in rows and hold it in columns: those of 16 bits.

    Only for these can the instruction that loads its operands transpose (PTX ISA, `ldmatrix` with `.trans`, recalled). Images in nchw
    are turned over in kernels of their own for the others, which is TF32.
    """
    return np.array([BITS[t] <= 16 for t in types], dtype=bool)


def _misaligned(columns: Columns) -> Bools:
    """Tell where a matrix engine cannot load whole vectors: channels no multiple of 8, or groups whose width is no power of two."""
    width, depth = columns.columns[0], columns.depth[0] / columns.taps[0]
    odd_groups = (np.log2(np.maximum(width, 1)) % 1 != 0) | (np.log2(np.maximum(depth, 1)) % 1 != 0)
    return np.where(grouped(columns), odd_groups, (width % 8 != 0) | (depth % 8 != 0))


def _ragged(columns: Columns) -> Bools:
    """Tell where maps of more than one pixel hold no multiple of 8: in nchw, their rows do not start where whole vectors do."""
    pixels = columns.rows[0] / columns.batches[0]
    return (pixels > 1) & (pixels % 8 != 0)


def _through(columns: Columns, distances: Sequence[float]) -> tuple[Floats, Floats]:
    """Add up the bytes of each kernel that come from beyond caches as large as each of *distances*, expected and at least.

    A line stays in a cache that evicts at random while others take its place: after d bytes, with the chance exp(-d / size). At
    best, all stay that fit. Both are (distances, batches, kernels).
    """
    batches, count = len(columns.batches), columns.size
    slot = (columns.edge_kernel + np.arange(batches)[:, None] * count).reshape(-1)
    far, nbytes = columns.edge_distance.reshape(-1), columns.edge_bytes.reshape(-1)
    first, which = _numbered(columns.edge_distance.T.copy())  # exponentials are slow, and few distances differ
    differing = columns.edge_distance[:, first]

    def passed(size: float) -> tuple[Floats, Floats]:
        missed = nbytes if size <= 0 else nbytes * (-np.expm1(-differing / size)).take(which, axis=1).reshape(-1)
        return added(missed), added(missed * (far > size))

    def added(edges: Floats) -> Floats:
        return np.bincount(slot, weights=edges, minlength=batches * count).astype(np.float64, copy=False)

    sums = zip(*map(passed, distances), strict=True)
    through, least = (np.array(rows, dtype=np.float64).reshape(len(distances), batches, count) for rows in sums)
    return through, least
