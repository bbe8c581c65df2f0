"""What a sweep found: a table with a row for every combination, and how to show and save it."""

import csv
import io
import json
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import roofline
from roofline import units
from roofline.costmodel.timemodel import BOUNDS
from roofline.errors import RooflineError
from roofline.files import replacing
from roofline.measurement.table import shown, table
from roofline.studies.sweep.request import SCHEMA, Request
from roofline.studies.sweep.table import COLUMNS, FAILED, PRICED, UNSUPPORTED, rows

if TYPE_CHECKING:
    import pyarrow as pa
    from pandas import DataFrame

ROW_GROUP = 65536
"""Rows of a group in a Parquet file."""

TOLD = 5
"""Failures, and reasons of what is unsupported, that are told in full."""

WIDTH = 80


@dataclass(frozen=True, slots=True)
class Effort:
    """What a sweep took: *seconds* on *jobs* processes for *networks*, beside those *kept* from a run that was cut off."""

    networks: int = 0
    kept: int = 0
    jobs: int = 1
    seconds: float = 0.0


@dataclass(frozen=True)
class Sweep:
    """The rows of every one of *models*, in the order asked for: network, mode, layout, precision, device, batch size."""

    request: Request
    models: tuple[str, ...]
    table: "pa.Table"
    effort: Effort = Effort()

    def __len__(self) -> int:
        return self.table.num_rows

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {status}" for status, count in self.counts.items())
        return f"<Sweep: {len(self.models)} networks, {len(self)} rows: {counts}>"

    def __str__(self) -> str:
        return "\n".join(self.lines())

    @property
    def counts(self) -> dict[str, int]:
        """Number of rows by what became of them, without those of which there are none."""
        found = {str(each["values"]): int(each["counts"]) for each in self.table["status"].value_counts().to_pylist()}
        return {status: found[status] for status in (PRICED, UNSUPPORTED, FAILED) if status in found}

    @property
    def failures(self) -> dict[str, str]:
        """Networks of which some rows failed, with the first reason of each."""
        found: dict[str, str] = {}
        for row in rows(self.where("status", FAILED).select(["model", "reason"])):
            found.setdefault(row["model"], row["reason"])
        return found

    @property
    def unsupported(self) -> dict[str, int]:
        """Reasons why devices or networks cannot run so, with the number of rows of each, the most frequent first."""
        found = Counter(row["reason"] for row in rows(self.where("status", UNSUPPORTED).select(["reason"])))
        return dict(found.most_common())

    def where(self, column: str, word: str) -> "pa.Table":
        """Return the rows that hold *word* in a *column* of words."""
        import pyarrow.compute as pc

        return self.table.filter(pc.field(column) == word)

    def to_pandas(self) -> "DataFrame":
        """Return the table as a DataFrame: words as categories, counts that may be unknown as nullable whole numbers."""
        try:
            import pandas as pd
        except ImportError as error:
            raise RooflineError("to_pandas needs pandas; install it with: pip install 'roofline[pandas]'") from error
        import pyarrow as pa

        kinds = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
        return self.table.to_pandas(types_mapper=kinds.get)

    def save(self, path: str | Path) -> None:
        """Write the table to *path* whole or not at all, as .parquet, .csv or .jsonl by suffix."""
        write = writer_for(path)
        with replacing(path) as file:
            write(self, file)

    def lines(self) -> Iterator[str]:
        """Tell in 80 columns what was priced, what holds the networks on each device, and what failed."""
        ways = self.request
        yield (
            f"{_count(len(self.models), 'network')}, {_count(len(ways.hardware), 'device')}, {_count(len(ways.batches), 'batch size')}, "
            f"{_count(len(ways.precisions), 'precision')}, {_count(len(ways.modes), 'mode')}"
        )
        yield f"{len(self):,} rows: {', '.join(f'{count:,} {status}' for status, count in self.counts.items())}"
        yield from _effort(self.effort)
        yield ""
        yield from _by_device(self)
        yield from _told([f"unsupported: {_count(count, 'row')}: {reason}" for reason, count in self.unsupported.items()])
        yield from _told([f"failed: {model}: {reason}" for model, reason in self.failures.items()])


def writer_for(path: str | Path) -> Callable[[Sweep, BinaryIO], None]:
    """Choose the format by the suffix of *path*; raise RooflineError for one that is not written."""
    suffix = Path(path).suffix.lower()
    if suffix not in WRITERS:
        raise RooflineError(f"cannot write {str(path)!r}: unknown suffix {suffix!r}; use {', '.join(WRITERS)}")
    return WRITERS[suffix]


def _parquet(sweep: Sweep, file: BinaryIO) -> None:
    import pyarrow.parquet as pq

    about = {"schema": SCHEMA, "tool": f"roofline {roofline.__version__}"}
    stamped = sweep.table.replace_schema_metadata({"roofline": json.dumps(about)})
    pq.write_table(stamped, file, compression="zstd", row_group_size=ROW_GROUP)


def _csv(sweep: Sweep, file: BinaryIO) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows(sweep.table))
    text.detach()  # flushes, and leaves the file open


def _json_lines(sweep: Sweep, file: BinaryIO) -> None:
    for row in rows(sweep.table):
        file.write(json.dumps(row, separators=(",", ":"), allow_nan=False).encode() + b"\n")


WRITERS: Mapping[str, Callable[[Sweep, BinaryIO], None]] = {".parquet": _parquet, ".csv": _csv, ".jsonl": _json_lines}
"""Every format that the table is written in, by suffix."""


def _cell(value: Any) -> Any:
    """Keep a spreadsheet from running a name as a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _told(reasons: Sequence[str]) -> Iterator[str]:
    """Give the first of many reasons, and say where the others are."""
    if reasons:
        yield ""
    for reason in reasons[:TOLD]:
        yield from textwrap.wrap(shown(reason), WIDTH, subsequent_indent="  ")
    if len(reasons) > TOLD:
        yield f"and {len(reasons) - TOLD:,} more; the column `reason` tells them all"


def _effort(effort: Effort) -> Iterator[str]:
    if effort.networks:
        rate = f", {units.significant(effort.networks / effort.seconds, 2)} networks/s" if effort.seconds > 0 else ""
        jobs = f"{effort.jobs} process{'es' if effort.jobs > 1 else ''}"
        yield f"{_count(effort.networks, 'network')} traced and priced in {units.seconds(effort.seconds, digits=2)} on {jobs}{rate}"
    if effort.kept:
        yield f"{_count(effort.kept, 'network')} kept from a run that was cut off"


def _by_device(sweep: Sweep) -> Iterator[str]:
    """Lay out for each device how many rows it has, and which share of the priced ones each bound holds."""
    import pyarrow.compute as pc

    header = ("device", "rows", "priced", "fit", *BOUNDS)
    lines: list[tuple[str, ...]] = []
    for device in sweep.request.hardware:
        own = sweep.where("device", device.id)
        priced = own.filter(pc.field("status") == PRICED)
        held = {str(each["values"]): int(each["counts"]) for each in priced["bound"].value_counts().to_pylist()}
        shares = [units.percent(held.get(bound, 0) / priced.num_rows) if priced.num_rows else "-" for bound in BOUNDS]
        fit = priced.filter(pc.field("fits")).num_rows
        lines.append((device.id, f"{own.num_rows:,}", f"{priced.num_rows:,}", f"{fit:,}", *shares))
    yield from table(header, lines)
    yield "share of the priced rows that each bound holds"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun if number == 1 else f'{noun}s'}"
