"""The columns of a sweep, in which every network has a row for each device, batch size and way of running."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from roofline.costmodel.timemodel import BOUNDS
from roofline.errors import RooflineError

if TYPE_CHECKING:
    import pyarrow as pa

PRICED, UNSUPPORTED, FAILED = STATUSES = ("priced", "unsupported", "failed")
"""What became of a row: it has figures, the device or the network cannot run so, or the network could not be traced."""

WORDS = (
    "status", "reason", "model", "family", "device", "precision", "mode", "layout", "what_if", "bound", "calibration",
)  # fmt: skip
"""Columns of text."""

COUNTS = ("batch", "image_size", "params", "macs", "flops", "unknown_ops")
"""Columns of whole numbers, all for the whole batch."""

FLAGS = ("fits",)
"""Columns of yes and no."""

SHARES = tuple(f"{bound}_share" for bound in BOUNDS)
"""Parts of the time spent in kernels held by each bound; they add up to one."""

COLUMNS = (
    "model", "family", "device", "batch", "precision", "mode", "layout", "what_if", "image_size", "status", "reason", "params", "macs",
    "flops", "bytes", "latency_seconds", "low_seconds", "high_seconds", "throughput_items_per_second", "lower_bound_seconds", "bound",
    *SHARES, "peak_memory_bytes", "fits", "calibration", "unknown_ops", "usd_per_million_items",
)  # fmt: skip
"""Every column, in order; those with no other type hold numbers in the unit that their name ends with."""


def libraries() -> None:
    """Raise RooflineError, which names the extra, unless what sweeps need is installed."""
    from importlib import import_module

    try:
        for library in ("filelock", "joblib", "pyarrow"):
            import_module(library)
    except ImportError as error:
        raise RooflineError(f"a sweep needs {error.name}; install it with: pip install 'roofline[sweep]'") from error


def schema() -> "pa.Schema":
    """Give the type of every column; words are kept once each."""
    import pyarrow as pa

    words = pa.dictionary(pa.int32(), pa.string())
    kinds = {**dict.fromkeys(WORDS, words), **dict.fromkeys(COUNTS, pa.int64()), **dict.fromkeys(FLAGS, pa.bool_())}
    return pa.schema([(name, kinds.get(name, pa.float64())) for name in COLUMNS])


def to_bytes(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Write *rows*, dictionaries by column (a column left out is null), as an Arrow stream."""
    import pyarrow as pa

    table = pa.Table.from_pylist([dict(row) for row in rows], schema=schema())
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def from_bytes(data: bytes) -> "pa.Table | None":
    """Read what `to_bytes` wrote; None where it is something else or not whole."""
    import pyarrow as pa

    try:
        found = pa.ipc.open_stream(data).read_all()
    except (pa.ArrowInvalid, OSError):
        return None
    return found if found.schema.equals(schema()) else None


def joined(tables: Sequence["pa.Table"]) -> "pa.Table":
    """Put *tables* under each other; each word is kept once."""
    import pyarrow as pa

    return pa.concat_tables(tables).unify_dictionaries().combine_chunks()


def rows(table: "pa.Table", size: int = 4096) -> Iterator[dict[str, Any]]:
    """Walk the rows of *table* as dictionaries."""
    for batch in table.to_batches(max_chunksize=size):
        yield from batch.to_pylist()
