"""Read tables of timings that others published into rows, and tell which rows time something else than is predicted."""

import csv
import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from pathlib import Path
from typing import NoReturn

from roofline.errors import RooflineError
from roofline.tracing.source import several
from roofline.transforms.changes import parse_changes
from roofline.transforms.modes import LAYOUTS, MODES
from roofline.transforms.precision import PRECISIONS

REQUIRED = ("dataset", "device", "model", "mode", "precision", "batch", "image_size", "latency_ms")
OPTIONAL = ("family", "layout", "what_if", "source", "note")
"""Columns of a table of timings; *latency_ms* is for the whole batch, an empty *layout* means nchw, *what_if* holds what-ifs with
spaces between them (such as `cuda-graphs`), under which the network was timed."""

LARGEST = 2**20
"""Batch and image size that no table exceeds."""

LISTED = 24
"""Choices up to which a message lists all."""

FILTERS = ("datasets", "devices", "models", "modes", "precisions")


@dataclass(frozen=True, slots=True)
class Published:
    """One timing of one network: *seconds* for the whole batch, under which conditions (*what_if* among them), and who says so."""

    dataset: str
    device: str
    model: str
    family: str
    mode: str
    precision: str
    layout: str
    batch: int
    image_size: int
    seconds: float
    source: str
    note: str
    what_if: str = ""

    @property
    def excluded(self) -> str:
        """Say why this row is left out of fits; empty for one that is used."""
        return next((rule.reason for rule in EXCLUSIONS if rule.matches(self)), "")


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Leave out the rows that match one of each kind of shell pattern, for a *reason*."""

    reason: str
    datasets: tuple[str, ...] = ("*",)
    models: tuple[str, ...] = ("*",)
    notes: tuple[str, ...] = ("*",)

    def matches(self, row: Published) -> bool:
        """Tell whether *row* is meant."""
        return _any(row.dataset, self.datasets) and _any(row.model, self.models) and _any(row.note, self.notes)


EXCLUSIONS = (
    Exclusion(
        "timed with branches and norms merged into its convolutions: another network than the one built by that name",
        datasets=("timm-rtx4090-eager-nchw", "timm-rtx4090-compiled"),
        models=("mobileone*", "repvgg*", "repghost*", "fastvit*", "repvit*", "efficientvit_m[0-9]*"),
    ),
    Exclusion(
        "includes copies between host and device, which are not modelled",
        datasets=("supergradients-*",),
        notes=("production latency, including IO*",),
    ),
    Exclusion(
        "timed with 26 layers: as fast as seresnext26t_32x4d, and faster than the datasheet lets 50 layers be",
        datasets=("timm-*",),
        models=("ecaresnext50t_32x4d",),
    ),
    Exclusion(
        "slower than the same pages say of a T4, which has half the FLOP/s and a third of the bandwidth",
        datasets=("paddleclas-v100-engine",),
        models=("resnest50d",),
    ),
    Exclusion(
        "its norms over channels are spelled out in some nine operators, of which an engine makes several kernels; timm's are one",
        datasets=("kecam-*",),
        models=("convnext*", "edgenext*"),
    ),
    Exclusion("low trust: twice as slow as other sources say of the same networks", datasets=("paddleclas-t4-engine",)),
)
"""Which published rows no fit may see, and why; `roofline validate` reports them apart."""


def read(path: str | Path | None = None) -> tuple[Published, ...]:
    """Read the table at *path*, by default the published ones that come with the package.

    Raises RooflineError, with file, line and column, for a table that lacks a column or holds a value that cannot be.
    """
    return _bundled() if path is None else tuple(_rows(Path(path)))


def families() -> Mapping[str, str]:
    """Map each network of the bundled tables to its family, the file of timm that holds it."""
    return _families()


def select(rows: Iterable[Published], **patterns: str | Sequence[str]) -> tuple[Published, ...]:
    """Keep the rows that match one pattern of each filter: *datasets*, *devices*, *models*, *modes*, *precisions*.

    Patterns are those of a shell (`timm-*`, `efficientnet_b?`); a filter without patterns keeps all. Raises RooflineError
    when nothing is left.
    """
    if unknown := [name for name in patterns if name not in FILTERS]:
        raise RooflineError(f"cannot filter by {unknown[0]!r}; use {', '.join(FILTERS)}")
    wanted = {name.removesuffix("s"): several(value) for name, value in patterns.items() if value}
    everything = tuple(rows)
    kept = tuple(row for row in everything if all(_any(getattr(row, field), value) for field, value in wanted.items()))
    if not kept:
        raise RooflineError(_no_match(everything, wanted))
    return kept


def sample(rows: Iterable[Published], networks: int) -> tuple[Published, ...]:
    """Keep so many *networks* of each data set, chosen by a hash of their names: the same ones each time."""
    rows = tuple(rows)
    if networks < 1:
        raise RooflineError(f"bad sample of {networks} networks; use 1 or more")
    models: dict[str, set[str]] = {}
    for row in rows:
        models.setdefault(row.dataset, set()).add(row.model)
    chosen = {dataset: frozenset(sorted(names, key=_hash)[:networks]) for dataset, names in models.items()}
    return tuple(row for row in rows if row.model in chosen[row.dataset])


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _any(value: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(value.lower(), pattern.lower()) for pattern in patterns)


def _no_match(rows: Sequence[Published], wanted: Mapping[str, Sequence[str]]) -> str:
    """Name the filter that matches nothing, and what it could match."""
    for field, patterns in wanted.items():
        known = sorted({str(getattr(row, field)) for row in rows})
        if not any(_any(value, patterns) for value in known):
            return f"no published timing has {field} {', '.join(patterns)}; {_choices(patterns[0], known)}"
    asked = "; ".join(f"{field} {', '.join(patterns)}" for field, patterns in wanted.items())
    return f"no published timing matches all of: {asked}; drop one of them"


def _choices(asked: str, known: Sequence[str]) -> str:
    """List what could be meant: all where that is short, else the closest."""
    if len(known) <= LISTED:
        return f"known: {', '.join(known)}"
    close = get_close_matches(asked, known, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(close)}?" if close else "use a pattern such as 'resnet*';"
    return f"{hint} there are {len(known)}"


@lru_cache(maxsize=1)
def _folder() -> Path:
    package = Path(__file__).resolve().parents[1]
    return shipped if (shipped := package / "_published").is_dir() else package.parent / "benchmarks" / "published"


@cache
def _bundled() -> tuple[Published, ...]:
    return tuple(_rows(_folder() / "networks.csv"))


@cache
def _families() -> Mapping[str, str]:
    return {row.model: row.family for row in _bundled()}


def _rows(path: Path) -> Iterator[Published]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in REQUIRED if name not in (reader.fieldnames or ())]
            if missing:
                raise RooflineError(f"{path}, line 1: no column {missing[0]!r}; a table of timings has {', '.join(REQUIRED)}")
            for cells in reader:
                yield _row(_Line(path, reader.line_num, {name: cells.get(name) or "" for name in (*REQUIRED, *OPTIONAL)}))
    except (OSError, ValueError) as error:  # a ValueError is a NUL in the name, or bytes that are no text
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise RooflineError(f"cannot read the table {str(path)!r}: {reason}; name a CSV file") from error
    except csv.Error as error:
        raise RooflineError(f"{path}: {error}; name a CSV file with one timing a line") from error


@dataclass(frozen=True, slots=True)
class _Line:
    """The cells of one line, by column, and where they stand."""

    path: Path
    number: int
    cells: Mapping[str, str]

    def text(self, column: str) -> str:
        """Return a cell that may not be empty."""
        return self.cells[column].strip() or self.refuse(column, "give one")

    def choice(self, column: str, known: Sequence[str], default: str = "") -> str:
        """Return one of the *known* words."""
        word = self.cells[column].strip() or default
        return word if word in known else self.refuse(column, f"use one of {', '.join(known)}")

    def whole(self, column: str) -> int:
        """Return a whole number above 0."""
        text = self.cells[column].strip()
        fits = text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= LARGEST
        return int(text) if fits else self.refuse(column, f"use a whole number from 1 to {LARGEST}")

    def milliseconds(self, column: str) -> float:
        """Return a time above 0 in seconds."""
        try:
            value = float(self.cells[column])
        except ValueError:
            value = math.nan
        return value * 1e-3 if 0 < value < math.inf else self.refuse(column, "use milliseconds above 0")

    def what_ifs(self, column: str) -> str:
        """Return what-ifs that exist, with spaces between them."""
        texts = self.cells[column].split()
        try:
            return " ".join(parse_changes(texts).texts)
        except RooflineError as error:
            self.refuse(column, str(error))

    def refuse(self, column: str, fix: str) -> NoReturn:
        """Raise for the cell in *column*."""
        raise RooflineError(f"{self.path}, line {self.number}, column {column}: bad value {self.cells[column][:60]!r}; {fix}")


def _row(line: _Line) -> Published:
    return Published(
        dataset=line.text("dataset"),
        device=line.text("device"),
        model=line.text("model"),
        family=line.cells["family"],
        mode=line.choice("mode", MODES),
        precision=line.choice("precision", PRECISIONS),
        layout=line.choice("layout", LAYOUTS, default="nchw"),
        batch=line.whole("batch"),
        image_size=line.whole("image_size"),
        seconds=line.milliseconds("latency_ms"),
        source=line.cells["source"],
        note=line.cells["note"],
        what_if=line.what_ifs("what_if"),
    )
