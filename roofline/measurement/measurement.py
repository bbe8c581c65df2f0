"""Hold what was measured of one network on one device: raw times of the whole and of every op, and where they come from."""

import json
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from roofline import units
from roofline.errors import RooflineError

SCHEMA = 1
"""Version of the JSON form; raised whenever a field changes its meaning."""

NOISY = 0.1
"""Interquartile range, as a share of the median, above which a measurement is called noisy."""

TOLD = 1e6
"""Bytes that a run asks the system for, from which a summary tells of them."""

CROWDED = 0.2
"""Processors that others may use beyond the free ones before a measurement is called crowded."""


def quartiles(times: Sequence[float]) -> tuple[float, float, float]:
    """Return the first quartile, the median and the third quartile of *times*."""
    if len(times) == 1:
        return times[0], times[0], times[0]
    first, median, third = statistics.quantiles(times, n=4, method="inclusive")
    return first, median, third


def spread(times: Sequence[float]) -> float:
    """Return the interquartile range of *times*."""
    first, _, third = quartiles(times)
    return third - first


@dataclass(frozen=True, slots=True)
class OpTime:
    """Name one op of the traced graph by its id there, with its raw times in seconds, one for each repetition."""

    op: int
    name: str
    module: str
    seconds: tuple[float, ...]
    kind: str = ""

    @property
    def median(self) -> float:
        """Median of the raw times."""
        return statistics.median(self.seconds)


@dataclass(frozen=True, slots=True)
class Share:
    """Sum of the medians of some ops, and its share of the sum over all."""

    name: str
    ops: int
    seconds: float
    share: float


@dataclass(frozen=True, slots=True)
class Measurement:
    """Keep the raw *seconds* of the whole network, in the order taken, and those of each of its *ops* where they were timed.

    *inputs* are texts such as `1 x 3 x 224 x 224 fp32`. *environment* tells what ran it: names, clocks, versions, date.
    """

    model: str
    device: str
    batch: int
    inputs: tuple[str, ...]
    precision: str
    mode: str
    layout: str
    threads: int
    seconds: tuple[float, ...]
    ops: tuple[OpTime, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """Median time of the whole batch."""
        return statistics.median(self.seconds)

    @property
    def best(self) -> float:
        """Shortest time of the whole batch."""
        return min(self.seconds)

    @property
    def iqr(self) -> float:
        """Interquartile range of the times of the whole batch."""
        return spread(self.seconds)

    @property
    def noisy(self) -> bool:
        """Tell whether the interquartile range exceeds 10 % of the median."""
        return self.iqr > NOISY * self.median

    @property
    def crowded(self) -> bool:
        """Tell whether other work left fewer processors than this measurement has threads: waiting threads then cost most of its time."""
        found = self.environment
        if self.device != "cpu" or "busy_elsewhere" not in found:
            return False
        return found["busy_elsewhere"] + min(self.threads, found["processors"]) > found["processors"] + CROWDED

    @property
    def throughput(self) -> float:
        """Items per second at the median."""
        return self.batch / self.median

    @property
    def ops_seconds(self) -> float:
        """Sum of the median times of the ops."""
        return sum(op.median for op in self.ops)

    @property
    def warning(self) -> str:
        """Say why the times should not be trusted; empty when nothing speaks against them."""
        reasons = [f"noisy: the interquartile range is {units.percent(self.iqr / self.median)} of the median"] if self.noisy else []
        if self.crowded:
            used, all_of = self.environment["busy_elsewhere"], self.environment["processors"]
            reasons.append(f"crowded: other work used {units.significant(used, 2)} of {all_of} processors meanwhile")
        return "; ".join([*reasons, "stop what else runs here, or give more --seconds"]) if reasons else ""

    def by_kind(self) -> tuple[Share, ...]:
        """Sum the ops by kind, the slowest first."""
        return self._shares(lambda op: op.kind or op.name)

    def by_module(self) -> tuple[Share, ...]:
        """Sum the ops by the module that called them, the slowest first."""
        return self._shares(lambda op: op.module or "(root)")

    def _shares(self, name: Any) -> tuple[Share, ...]:
        groups: dict[str, list[float]] = {}
        for op in self.ops:
            groups.setdefault(name(op), []).append(op.median)
        total = self.ops_seconds or 1.0
        shares = (Share(name, len(times), sum(times), sum(times) / total) for name, times in groups.items())
        return tuple(sorted(shares, key=lambda share: -share.seconds))

    def summary(self, *, top: int = 5) -> str:
        """Write what was measured as a few lines of text, with the *top* slowest kinds of op and modules."""
        return "\n".join(_summary(self, top))

    def __str__(self) -> str:
        return self.summary()

    def to_json(self, path: str | Path | None = None) -> str:
        """Return the measurement as JSON with a schema version, and write it to *path* if given."""
        from roofline.files import save

        return save(json.dumps(_body(self), indent=1, allow_nan=False) + "\n", path)

    @classmethod
    def from_json(cls, text: str) -> "Measurement":
        """Read what `to_json` returned; raise RooflineError for anything else."""
        try:
            body = json.loads(text)
        except ValueError as error:
            raise RooflineError(f"this is no measurement: {error}; write one with `roofline measure MODEL -o file.json`") from error
        if not isinstance(body, dict) or body.get("schema") != SCHEMA or "measurement" not in body:
            raise RooflineError(f"this is no measurement of schema {SCHEMA}; measure again with `roofline measure MODEL -o file.json`")
        try:
            return _read(body["measurement"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RooflineError(f"this measurement is broken ({type(error).__name__}: {error}); measure again") from error


def _body(measured: Measurement) -> dict[str, Any]:
    plain = {f.name: getattr(measured, f.name) for f in fields(measured) if f.name not in ("ops", "environment")}
    derived = {
        "median_seconds": measured.median, "iqr_seconds": measured.iqr, "best_seconds": measured.best, "noisy": measured.noisy,
        "throughput_items_per_second": measured.throughput,
    }  # fmt: skip
    ops = [
        {"op": o.op, "name": o.name, "module": o.module, "kind": o.kind, "median_seconds": o.median, "seconds": o.seconds}
        for o in measured.ops
    ]
    return {"schema": SCHEMA, "measurement": {**plain, **derived, "environment": dict(measured.environment), "ops": ops}}


def _read(body: Mapping[str, Any]) -> Measurement:
    ops = tuple(OpTime(o["op"], o["name"], o["module"], _times(o["seconds"]), o["kind"]) for o in body["ops"])
    texts = {name: body[name] for name in ("model", "device", "precision", "mode", "layout")}
    return Measurement(
        **texts, batch=body["batch"], threads=body["threads"], inputs=tuple(body["inputs"]),
        seconds=_times(body["seconds"]), ops=ops, environment=dict(body["environment"]),
    )  # fmt: skip


def _times(values: Iterable[Any]) -> tuple[float, ...]:
    times = tuple(map(float, values))
    if not times:
        raise ValueError("no times")
    return times


def _summary(measured: Measurement, top: int) -> Iterator[str]:
    m = measured
    yield f"{m.model} measured on {m.environment.get('name', m.device)} ({m.device}, {m.threads} thread{'s' * (m.threads != 1)})"
    yield ""
    yield f"input       {', '.join(m.inputs)}"
    yield f"run as      batch {m.batch}, {m.precision}, {m.mode}, {m.layout}"
    yield f"latency     {units.seconds(m.median)}  (best {units.seconds(m.best)}, IQR {units.seconds(m.iqr)}, {len(m.seconds)} runs)"
    yield f"throughput  {units.significant(m.throughput)} items/s"
    if (asked := m.environment.get("asked_bytes", 0.0)) > TOLD:
        yield f"memory      {units.scaled(asked, 'B')} asked of the system in each run, which clears it"
    if m.ops:
        yield f"ops         {len(m.ops)} timed one by one, {units.seconds(m.ops_seconds)} together"
    elif m.mode == "compiled":
        yield "ops         not timed: compiled, they run fused"
    if m.warning:
        yield f"warning     {m.warning}"
    if m.ops:
        yield from _table("kind of op", m.by_kind()[:top])
        yield from _table("module", m.by_module()[:top])


def _table(title: str, shares: Sequence[Share]) -> Iterator[str]:
    width = max(len(title), *(len(share.name) for share in shares))
    yield ""
    yield f"{title:<{width}}  ops       time  share"
    for share in shares:
        name = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in share.name)
        yield f"{name:<{width}}  {share.ops:>3}  {units.seconds(share.seconds):>9}  {units.percent(share.share):>5}"
