"""Turn a network into a Measurement: build it with real weights, run it until its time is known, then time it op by op."""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch

from roofline.errors import ModelError, RooflineError, UnknownNameError, UnsupportedError
from roofline.graph import Graph
from roofline.measurement.dispatch import Timed, dispatch_seconds, time_ops, to_graph
from roofline.measurement.environment import elsewhere, environment, pages_given, usage
from roofline.measurement.measurement import Measurement, OpTime
from roofline.measurement.subject import Subject, first_line, input_specs, prepare
from roofline.measurement.timer import Clock, CudaTimer, Timer, WallTimer, repeat, timed, warm_up
from roofline.tracing.source import trace
from roofline.tracing.spec import InputSpec, ModelSpec

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    Model = str | Path | torch.nn.Module | ExportedProgram

Device = Literal["cpu", "cuda"]
Precision = Literal["fp32", "tf32", "amp", "fp16", "bf16"]
Mode = Literal["eager", "compiled"]
Layout = Literal["nchw", "nhwc"]
DEVICES, PRECISIONS, MODES, LAYOUTS = get_args(Device), get_args(Precision), get_args(Mode), get_args(Layout)

MAX_BATCH = 2**20
WARM_UP_SHARE, OPS_SHARE = 0.2, 0.35
"""Shares of the budget that warming up may take, and that is kept for timing op by op."""

Progress = Callable[[str, float], None]
"""Told what is being done and which share of its time is used."""


def measure(
    model: "Model",
    device: str = "cpu",
    *,
    batch: int = 1,
    image_size: int | None = None,
    in_chans: int | None = None,
    inputs: Sequence[str | InputSpec] = (),
    example_inputs: Any = None,
    precision: str = "fp32",
    mode: str = "eager",
    layout: str = "nchw",
    threads: int | None = None,
    seconds: float = 10.0,
    ops: bool = True,
    cache: bool = True,
    clock: Clock = time.perf_counter,
    progress: Progress | None = None,
) -> Measurement:
    """Run *model* on this machine's *device* and return the times of the whole and of every op, all of them raw.

    *model*, *image_size*, *inputs* and the rest name a network as in `analyze`; a name gets random weights, a module is measured as
    a copy. On a CPU, a process that has run others before keeps more memory, and may be faster than one that runs this network
    alone (`asked_bytes` of the environment tells); the command `roofline measure` runs it alone. It runs until the median of the
    whole is known to 1 %, or *seconds* are up. `fp32` keeps TF32 off; compiled networks have no times of single ops. Raises
    UnsupportedError for a device that is not here, ModelError for a network that cannot run.
    """
    if isinstance(model, Graph):
        raise ModelError("cannot measure a Graph, which has no weights; pass the network itself")
    _check(device, precision, mode, layout, threads, seconds)
    tell = progress or _silence
    tell("tracing", 0.0)
    graph = _at_batch(trace(model, example_inputs, image_size=image_size, in_chans=in_chans, inputs=inputs, cache=cache), batch)
    spec = ModelSpec(str(model), image_size, in_chans, input_specs(graph)) if isinstance(model, (str, Path)) else None
    timer = CudaTimer() if device == "cuda" else WallTimer(clock)
    with _settings(device, precision, threads), _failures(graph.name):
        tell("building", 0.0)
        subject = prepare(model, graph, spec=spec, device=device, precision=precision, layout=layout, examples=example_inputs)
        with torch.inference_mode():
            per_op, before = ops and mode == "eager", usage()
            whole, asked = _time_whole(subject, timer, seconds * (1 - OPS_SHARE * per_op), clock, tell, compiled=mode == "compiled")
            op_times = _time_ops(subject, graph, timer, seconds * OPS_SHARE, clock, tell) if per_op else ()
            others = elsewhere(before, usage())
            facts = {**environment(device, threads=torch.get_num_threads()), **others, "dispatch_seconds": dispatch_seconds(timer, device)}
            facts |= {"asked_bytes": asked} if device == "cpu" and asked is not None else {}
    shapes = tuple(f"{' x '.join(map(str, t.shape))} {t.dtype}" for t in graph.inputs)
    return Measurement(graph.name, device, int(batch), shapes, precision, mode, layout, int(facts["threads"]), whole, op_times, facts)


def _check(device: str, precision: str, mode: str, layout: str, threads: Any, seconds: Any) -> None:
    """Raise for choices that do not exist, or not here, before anything slow begins."""
    known = {"device": DEVICES, "precision": PRECISIONS, "mode": MODES, "layout": LAYOUTS}
    for (what, names), value in zip(known.items(), (device, precision, mode, layout), strict=True):
        if value not in names:
            raise UnknownNameError(f"cannot measure {what} {value!r}; use one of {', '.join(names)}")
    if device == "cuda" and not torch.cuda.is_available():
        raise UnsupportedError("cannot measure on cuda: PyTorch finds no GPU here; use --device cpu, or predict with `roofline analyze`")
    if device == "cpu" and precision == "tf32":
        raise UnsupportedError("cannot measure tf32 on cpu: it is a type of NVIDIA's matrix engines; use fp32 or bf16")
    if threads is not None and not _is_whole(threads, 4096):
        raise RooflineError(f"bad number of threads {threads!r}; use 1 to 4096")
    if isinstance(seconds, bool) or not isinstance(seconds, Real) or not 0 < float(seconds) <= 86400:
        raise RooflineError(f"bad time budget {seconds!r}; use a number of seconds above 0, a day at most")


def _is_whole(value: Any, most: int) -> bool:
    return not isinstance(value, bool) and isinstance(value, Integral) and 1 <= int(value) <= most


def _at_batch(graph: Graph, batch: Any) -> Graph:
    if not _is_whole(batch, MAX_BATCH):
        raise RooflineError(f"bad batch size {batch!r}; use a whole number from 1 to {MAX_BATCH}")
    fixed = graph.inputs[0].shape[:1] if graph.batch is None and graph.inputs else None
    return graph if fixed == (batch,) else graph.with_batch(int(batch))


def _silence(phase: str, share: float) -> None:
    """Tell nobody."""


@contextmanager
def _failures(name: str) -> Generator[None, None, None]:
    """Turn whatever a network raises, and a device out of memory, into one line."""
    try:
        yield
    except RooflineError:
        raise
    except Exception as error:
        raise ModelError(f"cannot measure {name}: {first_line(error)}") from error


@contextmanager
def _settings(device: str, precision: str, threads: int | None) -> Generator[None, None, None]:
    """Set threads, denormals and the GPU's arithmetic for the measurement, and put them back."""
    with ExitStack() as stack:
        if threads is not None:
            stack.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(threads)
        stack.callback(torch.set_flush_denormal, _flushes_denormals())
        torch.set_flush_denormal(True)  # worker threads take this over when they start: those of a fresh process all do
        if device == "cuda":
            cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
            _put(stack, cudnn, "benchmark", True)
            _put(stack, cudnn, "allow_tf32", precision == "tf32")
            _put(stack, matmul, "allow_tf32", precision == "tf32")
        yield


def _put(stack: ExitStack, holder: Any, name: str, value: bool) -> None:
    stack.callback(setattr, holder, name, getattr(holder, name))
    setattr(holder, name, value)


def _flushes_denormals() -> bool:
    """Tell whether this thread takes denormals for zero already: PyTorch sets that, but does not tell."""
    half = torch.tensor(torch.finfo(torch.float64).tiny, dtype=torch.float64) * 0.5
    return bool((half.view(torch.int64) == 0).item())


def _time_whole(
    subject: Subject, timer: Timer, budget: float, clock: Clock, tell: Progress, *, compiled: bool
) -> tuple[tuple[float, ...], float | None]:
    """Time the whole network again and again, after warming up; and count the bytes that a run asked the system for."""
    if compiled:
        tell("compiling", 0.0)
        subject = _compiled(subject)
    tell("warming up", 0.0)
    run = _timed_run(subject, timer)
    warm_up(run, budget * WARM_UP_SHARE, clock)
    before = pages_given()
    times = repeat(run, budget * (1 - WARM_UP_SHARE), clock, lambda share: tell("timing", share))
    after = pages_given()
    return times, None if before is None or after is None else (after - before) / len(times)


def _timed_run(subject: Subject, timer: Timer) -> Callable[[], float]:
    return lambda: timed(subject.run, timer)


def _compiled(subject: Subject) -> Subject:
    """Compile the network and run it once; a missing compiler shows here."""
    torch.compiler.reset()  # else networks that share code use up the limit of recompilations, and run eagerly in silence
    subject = replace(subject, whole=torch.compile(subject.whole))
    try:
        subject.run()
    except Exception as error:
        needs = "it needs a C++ compiler for cpu and Triton for cuda; or use --mode eager"
        raise ModelError(f"torch.compile failed: {first_line(error)}; {needs}") from error
    return subject


def _time_ops(subject: Subject, graph: Graph, timer: Timer, budget: float, clock: Clock, tell: Progress) -> tuple[OpTime, ...]:
    """Time the network op by op again and again, and match the times to *graph*."""
    tell("timing ops", 0.0)
    runs: list[tuple[Timed, ...]] = []
    begun = clock()
    to_graph([time_ops(subject.run_followed, subject.followed, timer)], graph, casts=subject.precision == "amp")  # and warm up
    ahead = clock() - begun

    def run() -> float:
        runs.append(time_ops(subject.run_followed, subject.followed, timer, ahead=ahead))
        return sum(op.seconds for op in runs[-1])

    repeat(run, budget, clock, lambda share: tell("timing ops", share))
    return to_graph(runs, graph, casts=subject.precision == "amp")
