"""Compare predictions with what was measured: networks timed here, saved measurements, or tables that others published."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NamedTuple

from roofline.costmodel.analysis import Analysis
from roofline.costmodel.analyze import analyze_grid, check_request
from roofline.costmodel.device import Hardware
from roofline.costmodel.hardware import load_hardware
from roofline.errors import RooflineError
from roofline.files import save
from roofline.graph import Graph
from roofline.measurement.classification import Classification
from roofline.measurement.comparison import SCHEMA, Case, Comparison, Failure, Point
from roofline.measurement.layers import Layers, pair
from roofline.measurement.measurement import Measurement
from roofline.measurement.published import Published, families, read, sample, select
from roofline.tracing.source import several, trace
from roofline.tracing.spec import ModelSpec
from roofline.transforms.changes import parse_changes

MODELS = ("efficientnet_b0", "resnet50", "mobilenetv2_100")
"""Networks that are timed where none is named."""

SECONDS = 15.0
"""Time budget of each network at each batch size."""

HERE = "measured here"

OPS_SHARE = 0.35
"""Share of the budget that a measurement keeps for its ops, to draw its progress."""

Progress = Callable[[str, float], None]
"""Told what is being done and which share of it is done."""

_INPUT = re.compile(r"(\d+(?: x \d+)*) (\w+)")


class Validation(NamedTuple):
    """Whole networks beside their predictions; their layers, and predicted bounds against the roofs, where ops were timed."""

    networks: Comparison
    layers: Layers
    classification: Classification

    @classmethod
    def of(cls, networks: Comparison, layers: Layers) -> "Validation":
        """Classify *layers*, and put all three together."""
        return cls(networks, layers, Classification.of(layers))

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values, with the unit in each key."""
        return {**self.networks.as_dict(), "layers": self.layers.rows(), "classification": self.classification.as_dict()}

    def to_json(self, path: str | Path | None = None) -> str:
        """Return everything as JSON with a schema version, and write it to *path* if given."""
        return save(json.dumps({"schema": SCHEMA, **self.as_dict()}, indent=1, allow_nan=False) + "\n", path)

    def summary(self) -> str:
        """Write the figures of the networks, the kinds of op, and the bounds as text."""
        parts = [self.networks.summary(), *([self.layers.summary(), self.classification.summary()] if self.layers.points else [])]
        return "\n\n".join(parts)

    def __str__(self) -> str:
        return self.summary()


def validate(measurements: Measurement | Iterable[Measurement], hardware: str | Path | Hardware = "host") -> Validation:
    """Compare *measurements* of networks of timm and torchvision with what `analyze` predicts for *hardware*.

    *measurements* come from `measure` or `Measurement.from_json`. One that cannot be predicted becomes a failure that
    says why; nothing is left out in silence. Raises RooflineError when none can be.
    """
    device = load_hardware(hardware)
    found = [_outcome(m, device, lambda m=m: _graph_of(m)) for m in several(measurements)]
    return _joined(found)


def validate_host(
    models: str | Sequence[str] = MODELS,
    hardware: str | Path | Hardware = "host",
    *,
    batches: int | Sequence[int] = (1,),
    precision: str = "fp32",
    mode: str = "eager",
    layout: str = "nchw",
    image_size: int | None = None,
    threads: int | None = None,
    seconds: float = SECONDS,
    cache: bool = True,
    progress: Progress | None = None,
) -> Validation:
    """Time *models* on this machine, each for at most *seconds* at each batch size, and compare them with predictions.

    *hardware* is the profile of this machine: of its processor (`host`), or of the GPU in it, which then is what is timed. On a
    processor each network runs in a process of its own, where memory is what it is for a program that runs this network alone.
    Mistakes are told before anything is timed; a network that cannot be measured becomes a failure. Raises RooflineError
    when none can be.
    """
    names, sizes, device = several(models), several(batches), load_hardware(hardware)
    if not names or not sizes:
        raise RooflineError("nothing to validate; give at least one network and one batch size")
    check_request([device], sizes, [precision], mode, layout)
    where = "cuda" if device.kind == "gpu" else "cpu"
    tell = progress or _silence
    graphs = {name: _told(tell, f"tracing {name}", lambda name=name: trace(name, image_size=image_size, cache=cache)) for name in names}
    cases = [(name, batch) for name in names for batch in sizes]

    def timed(i: int, name: str, batch: int) -> tuple[Comparison, Layers]:
        how: dict[str, Any] = {
            "batch": batch, "image_size": image_size, "precision": precision, "mode": mode, "layout": layout, "threads": threads,
            "seconds": seconds, "cache": cache,
        }  # fmt: skip
        inner = _inner(tell, f"{name}, batch {batch}", i, len(cases))
        try:
            measured = _measured(name, where, inner, how)
        except RooflineError as error:
            case = Case(
                dataset=HERE, device=device.id, model=name, family=families().get(name, ""), mode=mode, precision=precision, layout=layout,
                batch=batch, image_size=image_size or 0,
            )  # fmt: skip
            return Comparison((), (Failure(**asdict(case), message=str(error)),)), Layers()
        return _outcome(measured, device, lambda: graphs[name])

    return _joined([timed(i, *case) for i, case in enumerate(cases)])


def _measured(name: str, where: str, tell: Progress, how: Mapping[str, Any]) -> Measurement:
    if where == "cuda":
        from roofline.measurement.measure import measure

        return measure(name, where, progress=tell, **how)
    from roofline.measurement.apart import measure_apart

    tell("timing", 0.0)
    return measure_apart(str(name), where, **how)


def validate_published(
    table: str | Path | Iterable[Published] | None = None,
    *,
    datasets: str | Sequence[str] = (),
    devices: str | Sequence[str] = (),
    models: str | Sequence[str] = (),
    modes: str | Sequence[str] = (),
    precisions: str | Sequence[str] = (),
    networks: int | None = None,
    cache: bool = True,
    progress: Progress | None = None,
) -> Comparison:
    """Predict every timing of *table* (a CSV file, rows, or the published ones) that matches the shell patterns.

    *networks* takes so many of each data set only. Each network is traced once. A row that cannot be predicted becomes a
    failure with its message. Rows that no fit may see are there too, and say so (`excluded`).
    """
    everything = read(table) if table is None or isinstance(table, str | Path) else tuple(table)
    rows = select(everything, datasets=datasets, devices=devices, models=models, modes=modes, precisions=precisions)
    rows = rows if networks is None else sample(rows, networks)
    groups: dict[tuple[str, int], list[Published]] = {}
    for row in rows:
        groups.setdefault((row.model, row.image_size), []).append(row)
    tell, done, outcomes = progress or _silence, 0, dict[Published, Point | Failure]()
    for (model, image_size), members in groups.items():
        tell(model, done / len(rows))
        outcomes |= _predicted(model, image_size, members, cache=cache)
        done += len(members)
    ordered = [outcomes[row] for row in rows]
    return Comparison(tuple(o for o in ordered if isinstance(o, Point)), tuple(o for o in ordered if isinstance(o, Failure)))


def read_measurement(path: str | Path) -> Measurement:
    """Read a file that `roofline measure -o` wrote; raise RooflineError, naming it, for anything else."""
    try:
        return Measurement.from_json(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise RooflineError(f"cannot read {str(path)!r}: {reason}; name a file that `roofline measure -o` wrote") from error
    except RooflineError as error:
        raise RooflineError(f"{path}: {error}") from error


def doubts(points: Iterable[Point]) -> tuple[str, ...]:
    """Say once each what speaks against the times that were measured here, and against which; last, what to do about it."""
    here = [p for p in points if p.dataset == HERE]
    reasons: dict[str, list[str]] = {}
    for p in here:
        for reason in filter(None, p.note.split("; ")):
            reasons.setdefault(reason, []).append(f"{p.model} at batch {p.batch}")
    advice = [reason for reason in reasons if reason.startswith("stop ")]
    said = (f"{'all' if 1 < len(of) == len(here) else ', '.join(of)}: {reason}" for reason, of in reasons.items() if reason not in advice)
    return (*said, *advice)


def _silence(what: str, share: float) -> None:
    """Tell nobody."""


def _told(tell: Progress, what: str, act: Callable[[], Graph]) -> Graph:
    tell(what, 0.0)
    return act()


def _inner(tell: Progress, what: str, i: int, count: int) -> Progress:
    """Turn the progress of one measurement into that of all of them."""

    def told(phase: str, share: float) -> None:
        own = {"timing": share * (1 - OPS_SHARE), "timing ops": 1 - OPS_SHARE + share * OPS_SHARE}.get(phase, 0.0)
        tell(f"{what}: {phase}", (i + own) / count)

    return told


def _joined(found: Sequence[tuple[Comparison, Layers]]) -> Validation:
    """Put the outcomes together; raise RooflineError with the first message when nothing can be compared."""
    networks = sum((comparison for comparison, _ in found), Comparison(()))
    if not networks.points:
        raise RooflineError(networks.failures[0].message if networks.failures else "nothing to validate; give at least one measurement")
    return Validation.of(networks, sum((layers for _, layers in found), Layers()))


def _outcome(measured: Measurement, device: Hardware, graph: Callable[[], Graph]) -> tuple[Comparison, Layers]:
    """Predict what *measured* ran, and pair the two, whole and op by op; or say why that cannot be."""
    shape = _image_shape(measured)
    case = Case(
        dataset=HERE, device=device.id, model=measured.model, family=families().get(measured.model, ""), mode=measured.mode,
        precision=measured.precision, layout=measured.layout, batch=measured.batch, image_size=shape[1] if shape else 0,
        source=_source(measured), note=_note(measured, device),
    )  # fmt: skip
    try:
        traced = graph()
        (analysis,) = analyze_grid(
            traced, [device], [measured.batch], precisions=[measured.precision], mode=measured.mode, layout=measured.layout
        )  # fmt: skip
    except RooflineError as error:
        return Comparison((), (Failure(**asdict(case), message=str(error)),)), Layers()
    return Comparison((_point(case, measured.median, analysis),)), pair(measured, analysis, traced)


def _point(case: Case, seconds: float, analysis: Analysis) -> Point:
    low, high = analysis.interval
    return Point(
        **asdict(case), measured=seconds, predicted=analysis.latency, low=low, high=high, limit=analysis.lower_bound, bound=analysis.bound
    )  # fmt: skip


def _source(measured: Measurement) -> str:
    name, threads = measured.environment.get("name", measured.device), measured.threads
    return f"{name}, {threads} thread{'s' * (threads != 1)}" if measured.device == "cpu" else str(name)


def _note(measured: Measurement, device: Hardware) -> str:
    """Say why the measured time should not be trusted, or is of another thing than was predicted."""
    idle = measured.device == "cpu" and measured.threads < device.units
    fewer = f"ran on {measured.threads} thread{'s' * (measured.threads != 1)}, predicted for {device.units} {device.unit_name}s"
    return "; ".join([*([fewer] if idle else []), *([measured.warning] if measured.warning else [])])


def _image_shape(measured: Measurement) -> tuple[int, int] | None:
    """Channels and pixels a side, where the network takes one batch of square fp32 images."""
    sizes = [(tuple(map(int, m[1].split(" x "))), m[2]) for text in measured.inputs if (m := _INPUT.fullmatch(text))]
    if len(sizes) != 1 or len(measured.inputs) != 1:
        return None
    shape, dtype = sizes[0]
    return (shape[1], shape[2]) if len(shape) == 4 and shape[2] == shape[3] and dtype == "fp32" else None


def _graph_of(measured: Measurement) -> Graph:
    """Trace again what was measured: with an image of that size, or with those inputs."""
    _only_zoo(measured.model)
    if shape := _image_shape(measured):
        channels, size = shape
        return trace(measured.model, image_size=size, in_chans=channels if channels != 3 else None)
    return trace(measured.model, inputs=[":".join((m[1].replace(" x ", ","), m[2])) for t in measured.inputs if (m := _INPUT.fullmatch(t))])


def _only_zoo(model: str) -> None:
    """Refuse a name that would run code, or read a file: a table or a saved measurement is data."""
    spec = ModelSpec(model)
    if spec.runs_user_code or spec.file is not None:
        raise RooflineError(f"{model} is code of its own, which is not run for a table or a saved measurement; name it in --models")


def _predicted(model: str, image_size: int, rows: Sequence[Published], *, cache: bool) -> dict[Published, Point | Failure]:
    """Predict all *rows* of one network: traced once, and priced for all batch sizes at once."""
    try:
        _only_zoo(model)
        graph = trace(model, image_size=image_size, cache=cache)
    except Exception as error:  # a network that fails is a result
        return {row: _failure(row, error) for row in rows}
    groups: dict[tuple[object, ...], list[Published]] = {}
    for row in rows:
        groups.setdefault((row.device, row.precision, row.mode, row.layout, row.what_if), []).append(row)
    return dict(outcome for members in groups.values() for outcome in _priced(graph, members))


def _priced(graph: Graph, rows: Sequence[Published]) -> Iterator[tuple[Published, Point | Failure]]:
    """Price rows that differ in their batch size only."""
    first, batches = rows[0], sorted({row.batch for row in rows})
    try:
        device = load_hardware(first.device)
        change = parse_changes(first.what_if.split())
        grid = analyze_grid(
            graph, [device], batches, precisions=[first.precision], mode=first.mode, layout=first.layout, changes=change.texts,
            change=change,
        )  # fmt: skip
        found = dict(zip(batches, grid, strict=True))
        points = [(row, _point(_case(row), row.seconds, found[row.batch])) for row in rows]
    except Exception as error:
        yield from ((row, _failure(row, error)) for row in rows)
    else:
        yield from points


def _failure(row: Published, error: Exception) -> Failure:
    text = " ".join(str(error).split())[:200]
    message = text if isinstance(error, RooflineError) else f"{type(error).__name__}: {text}"
    return Failure(**asdict(_case(row)), message=message)


def _case(row: Published) -> Case:
    return Case(**{f.name: getattr(row, f.name) for f in fields(Case)})
