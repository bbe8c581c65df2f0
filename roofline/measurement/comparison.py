"""Put predictions beside what was measured: how far off, how often inside the interval, how well ranked."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roofline import units
from roofline.errors import RooflineError
from roofline.files import save
from roofline.measurement.table import factor, figure, share, table

SCHEMA = 1
"""Version of the JSON form; raised whenever a field changes its meaning."""

FEWEST_TO_RANK = 3
"""Timings of which a rank correlation tells anything."""

KEYS = ("dataset", "device", "family", "model", "mode", "precision", "layout", "batch", "image_size", "source")
"""What timings can be grouped by."""

GROUP = ("n", "fail", "median", "p90", "bias", "rank", "covers", "limit")
LEGEND = (
    "n, fail: timings compared, and those that could not be predicted",
    "median, p90: of the error |predicted / measured - 1|",
    "bias: median of predicted / measured",
    "rank: Spearman's correlation of predicted and measured time per item",
    "covers: share of the measured times inside the 80 % interval",
    "limit: median error of the datasheet limit, were it taken as the prediction",
)
"""What the columns of a table of groups mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What ran where and how, and who timed it; *excluded* says why it is left out of fits, *image_size* 0 that it takes no image."""

    dataset: str
    device: str
    model: str
    family: str = ""
    mode: str
    precision: str
    layout: str = "nchw"
    batch: int
    image_size: int = 0
    source: str = ""
    note: str = ""
    excluded: str = ""
    what_if: str = ""

    @property
    def label(self) -> str:
        """Name the case in one line."""
        size = f", {self.image_size} px" if self.image_size else ""
        way = ", ".join((self.precision, self.mode, self.layout, *self.what_if.split()))
        return f"{self.model} on {self.device}, batch {self.batch}{size}, {way}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point(Case):
    """One case with its times in seconds: measured, predicted, the ends of the 80 % interval, the datasheet limit."""

    measured: float
    predicted: float
    low: float
    high: float
    limit: float
    bound: str = ""

    @property
    def ratio(self) -> float:
        """Give `predicted / measured`."""
        return self.predicted / self.measured

    @property
    def error(self) -> float:
        """Give `|predicted / measured - 1|`."""
        return abs(self.ratio - 1)

    @property
    def inside(self) -> bool:
        """Tell whether the measured time lies in the interval."""
        return self.low <= self.measured <= self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure(Case):
    """One case that could not be measured or predicted, and the message that says why."""

    message: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Timings beside their predictions; every figure is derived, and is not a number where there are too few timings."""

    points: tuple[Point, ...]
    failures: tuple[Failure, ...] = ()

    @property
    def n(self) -> int:
        """Number of timings compared."""
        return len(self.points)

    @property
    def median_error(self) -> float:
        """Median of `|predicted / measured - 1|`."""
        return _quantile(self._of(lambda p: p.error), 0.5)

    @property
    def p90_error(self) -> float:
        """90th percentile of the same, interpolated."""
        return _quantile(self._of(lambda p: p.error), 0.9)

    @property
    def bias(self) -> float:
        """Median of `predicted / measured`."""
        return _quantile(self._of(lambda p: p.ratio), 0.5)

    @property
    def rank_correlation(self) -> float:
        """Spearman's correlation of predicted and measured seconds per item."""
        return spearman(self._of(lambda p: p.predicted / p.batch), self._of(lambda p: p.measured / p.batch))

    @property
    def coverage(self) -> float:
        """Share of the measured times that lie in the interval."""
        return sum(p.inside for p in self.points) / self.n if self.n else math.nan

    @property
    def roof_error(self) -> float:
        """Median of `|limit / measured - 1|`: the error of the datasheet limit, were it taken as the prediction."""
        return _quantile(self._of(lambda p: abs(p.limit / p.measured - 1)), 0.5)

    @property
    def used(self) -> "Comparison":
        """The cases that fits may see."""
        return self._where(lambda case: not case.excluded)

    @property
    def left_out(self) -> "Comparison":
        """The cases that fits may not see, each of which says why."""
        return self._where(lambda case: bool(case.excluded))

    @property
    def exclusions(self) -> dict[str, tuple[str, ...]]:
        """Map each reason for leaving cases out of fits to the data sets that have such cases."""
        found: dict[str, dict[str, None]] = {}
        for case in (*self.left_out.points, *self.left_out.failures):
            found.setdefault(case.excluded, {})[case.dataset] = None
        return {reason: tuple(datasets) for reason, datasets in found.items()}

    def __add__(self, other: "Comparison") -> "Comparison":
        return Comparison(self.points + other.points, self.failures + other.failures)

    def worst(self, k: int = 10) -> tuple[Point, ...]:
        """Return the *k* points farthest off, by the factor between the two times: half as long is as far off as twice as long."""
        return tuple(sorted(self.points, key=lambda p: -max(p.ratio, 1 / p.ratio if p.ratio else math.inf))[:k])

    def by(self, key: str) -> "dict[str, Comparison]":
        """Group by *key*, one of KEYS, in order."""
        if key not in KEYS:
            raise RooflineError(f"cannot group timings by {key!r}; use one of {', '.join(KEYS)}")
        names = sorted({getattr(case, key) for case in (*self.points, *self.failures)})
        return {str(name): self._where(lambda case, name=name: getattr(case, key) == name) for name in names}

    def figures(self) -> dict[str, Any]:
        """Return every derived figure; None where there are too few timings."""
        found = {
            "n": self.n, "failed": len(self.failures), "median_error": self.median_error, "p90_error": self.p90_error, "bias": self.bias,
            "rank_correlation": self.rank_correlation, "coverage": self.coverage, "roof_error": self.roof_error,
        }  # fmt: skip
        return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in found.items()}

    def rows(self) -> list[dict[str, Any]]:
        """Return one plain dictionary per timing, with the unit in each key."""
        return [_plain(p) for p in self.points]

    def as_dict(self) -> dict[str, Any]:
        """Return figures, points and failures as plain values."""
        groups = {name: group.figures() for name, group in self.by("dataset").items()}
        return {"figures": self.figures(), "by_dataset": groups, "points": self.rows(), "failures": [asdict(f) for f in self.failures]}

    def to_json(self, path: str | Path | None = None) -> str:
        """Return figures, points and failures as JSON with a schema version, and write them to *path* if given."""
        return save(json.dumps({"schema": SCHEMA, **self.as_dict()}, indent=1, allow_nan=False) + "\n", path)

    def to_csv(self, path: str | Path | None = None) -> str:
        """Return one CSV line per timing, with the unit in each heading, and write it to *path* if given."""
        text = io.StringIO()
        writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in self.rows())
        return save(text.getvalue(), path)

    def to_pandas(self) -> Any:
        """Return `rows()` as a pandas DataFrame."""
        try:
            import pandas
        except ImportError as error:
            raise RooflineError("to_pandas needs pandas; install it with: pip install 'roofline[pandas]'") from error
        return pandas.DataFrame(self.rows(), columns=list(_COLUMNS))

    def summary(self) -> str:
        """Write the figures as a few lines of text."""
        return "\n".join(_summary(self))

    def __str__(self) -> str:
        return self.summary()

    def _of(self, figure: Callable[[Point], float]) -> NDArray[np.float64]:
        return np.array([figure(p) for p in self.points], dtype=np.float64)

    def _where(self, keep: Callable[[Case], bool]) -> "Comparison":
        return Comparison(tuple(filter(keep, self.points)), tuple(filter(keep, self.failures)))


_UNITS = {"measured": "_seconds", "predicted": "_seconds", "low": "_seconds", "high": "_seconds", "limit": "_seconds"}
_COLUMNS = (*(f.name + _UNITS.get(f.name, "") for f in fields(Point)), "ratio", "error", "inside")


def spearman(a: Sequence[float] | NDArray[np.float64], b: Sequence[float] | NDArray[np.float64]) -> float:
    """Correlate the ranks of *a* and *b*, where equal values share the mean of theirs; not a number where one is constant."""
    if len(a) < FEWEST_TO_RANK:
        return math.nan
    first, second = _ranks(a), _ranks(b)
    if first.std() == 0 or second.std() == 0:
        return math.nan
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    _, position, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[position]


def _quantile(values: NDArray[np.float64], q: float) -> float:
    return float(np.quantile(values, q)) if len(values) else math.nan


def _plain(point: Point) -> dict[str, Any]:
    own = {name + _UNITS.get(name, ""): value for name, value in asdict(point).items()}
    return {**own, "ratio": point.ratio, "error": point.error, "inside": point.inside}


def _cell(value: Any) -> Any:
    """Keep a spreadsheet from running a name as a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def group_row(name: str, group: Comparison) -> tuple[str, ...]:
    """Write a group as the cells of GROUP, after its *name*."""
    return (
        name or "-", str(group.n), str(len(group.failures)), share(group.median_error), share(group.p90_error), factor(group.bias),
        figure(group.rank_correlation), share(group.coverage), share(group.roof_error),
    )  # fmt: skip


def starred(comparison: Comparison, key: str) -> dict[str, Comparison]:
    """Group by *key*; what is left out of fits stands apart, after the rest, with a star; last is the sum of what is not."""
    used = comparison.used.by(key)
    groups = used | {f"{name}*": group for name, group in comparison.left_out.by(key).items()}
    return groups | {"all without a star": comparison.used} if len(used) > 1 else groups


def group_table(title: str, groups: Mapping[str, Comparison]) -> Iterator[str]:
    """Lay out one line per group, under *title*."""
    return table((title, *GROUP), [group_row(name, group) for name, group in groups.items()])


def network_table(comparison: Comparison) -> Iterator[str]:
    """Lay out one line per timing: measured, predicted, how far off, whether the interval holds it, and the datasheet limit."""
    header = ("network", "batch", "measured", "predicted", "off", "in 80 %", "limit", "bound")
    return table(header, [_network_row(p) for p in comparison.points], words=("in 80 %", "bound"))


def _network_row(p: Point) -> tuple[str, ...]:
    times = (units.seconds(s) for s in (p.measured, p.predicted))
    return (p.model, str(p.batch), *times, f"{100 * (p.ratio - 1):+.0f} %", "yes" if p.inside else "no", units.seconds(p.limit), p.bound)


def _summary(c: Comparison) -> Iterator[str]:
    failed = f", {len(c.failures)} failed" if c.failures else ""
    yield f"timings     {c.n} compared{failed}"
    if not c.n:
        return
    yield f"error       median {share(c.median_error)}, 90th percentile {share(c.p90_error)} (of |predicted / measured - 1|)"
    yield f"bias        {factor(c.bias)} (median of predicted / measured)"
    if not math.isnan(c.rank_correlation):
        yield f"rank        {figure(c.rank_correlation)} (Spearman, time per item)"
    yield f"interval    {share(c.coverage)} of the measured times inside; 80 % are meant to be"
    yield f"limit       off by {share(c.roof_error)} (median), were it taken as the prediction"
