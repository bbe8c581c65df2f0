"""Turn one run of a network into the seconds of each op, and match them to the ops of its traced graph.

A dispatch mode sees each op exactly as the tracer does: the same composites whole, the same ones in parts, under the
same module paths. What the mode itself costs lies outside the times, except for one more pass through the dispatcher.
"""

import statistics
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from roofline.cost import work
from roofline.errors import ModelError
from roofline.graph import Graph, Op
from roofline.measurement.measurement import OpTime
from roofline.measurement.timer import Timer
from roofline.tracing.trace import decomposed_attention, is_unfused, module_paths, signature_of, tensors_in

CASTS = ("to", "_to_copy")
"""What autocast inserts before an op that runs in another precision."""

EMPTY_OPS = 200


@dataclass(frozen=True, slots=True)
class Timed:
    """One op of one run: its name and module as the tracer writes them, and its seconds."""

    name: str
    module: str
    seconds: float


class _Stopwatch(TorchDispatchMode):
    """Run each operator between two marks of *timer*; *path* is the module that runs."""

    def __init__(self, timer: Timer) -> None:
        super().__init__()
        self.timer = timer
        self.path = ""
        self.laps: list[tuple[str, str, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        signature = signature_of(func)
        if signature.composite or is_unfused(signature, args):
            with self:
                return func.decompose(*args, **kwargs)
        start = self.timer.mark()
        result = func(*args, **kwargs)
        end = self.timer.mark()
        self.laps.append((_name(signature, args, kwargs), self.path, start, end))
        return result

    def timed(self) -> tuple[Timed, ...]:
        """Return every op once the device has passed it."""
        self.timer.wait()
        return tuple(Timed(name, module, self.timer.seconds(start, end)) for name, module, start, end in self.laps)


def _name(signature: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Name an operator as the tape does: an in-place one that overwrites a tensor goes without its underscore."""
    if not signature.written:
        return signature.packet
    given = {**dict(zip(signature.names, args, strict=False)), **kwargs}
    overwrites = any(tensors_in(given.get(role)) for role in signature.written)
    return signature.packet.removesuffix("_") if overwrites else signature.packet


def time_ops(run: Callable[[Any], object], module: torch.nn.Module, timer: Timer, *, ahead: float = 0.0) -> tuple[Timed, ...]:
    """Time each op of `run(tape)` in order; a GPU is first held for *ahead* seconds, so that it never waits for the host."""
    watch = _Stopwatch(timer)
    with _following(module, watch):
        timer.wait()
        timer.hold(ahead)
        run(watch)
    return watch.timed()


@contextmanager
def _following(module: torch.nn.Module, watch: _Stopwatch) -> Generator[None, None, None]:
    """Time what runs inside, as the tracer follows it: module by module, attention in parts."""
    with ExitStack() as stack:
        stack.enter_context(decomposed_attention())
        stack.enter_context(module_paths(module, cast(Any, watch)))
        stack.enter_context(watch)
        yield


def dispatch_seconds(timer: Timer, device: str) -> float:
    """Measure what an op that does nothing takes in `time_ops`: the least that the time of any op can be."""
    tensor = torch.zeros(1, device=device)
    watch = _Stopwatch(timer)
    with watch:
        for _ in range(EMPTY_OPS):
            tensor.detach()
    return statistics.median(lap.seconds for lap in watch.timed())


def to_graph(runs: Sequence[Sequence[Timed]], graph: Graph, *, casts: bool) -> tuple[OpTime, ...]:
    """Give each op of *graph* that runs its time in each of *runs*; raise ModelError where a run and the graph disagree.

    With *casts*, the casts of autocast, which the graph lacks, count with the op they feed.
    """
    matched = [_matched(run, graph, casts=casts) for run in runs]
    ops = [op for op in graph.ops if all(op.id in times for times in matched)]
    return tuple(OpTime(op.id, op.name, op.module, tuple(t[op.id] for t in matched), work(op, graph).kind) for op in ops)


def _matched(run: Sequence[Timed], graph: Graph, *, casts: bool) -> dict[int, float]:
    """Walk *run* and the ops of *graph* side by side, and return the seconds of each op by its id."""
    times: dict[int, float] = {}
    rest, cast_seconds = deque(graph.ops), 0.0
    for timed in run:
        while rest and not _same(timed, rest[0]) and _may_not_run(rest[0], graph):
            rest.popleft()
        if rest and _same(timed, rest[0]):
            times[rest.popleft().id] = timed.seconds + cast_seconds
            cast_seconds = 0.0
        elif casts and timed.name in CASTS:
            cast_seconds += timed.seconds
        else:
            raise _disagreement(graph, rest[0] if rest else None, timed)
    left = [op for op in rest if not _may_not_run(op, graph)]
    if left:
        raise _disagreement(graph, left[0], None)
    return times


def _same(timed: Timed, op: Op) -> bool:
    return (timed.name, timed.module) == (op.name, op.module)


def _may_not_run(op: Op, graph: Graph) -> bool:
    """Tell what only a trace may hold: notes on overwritten memory or needless copies, the `detach` of a tensor that someone else holds."""
    return (op.name == "alias" and op.roles == ("self", "written")) or (op.name in ("detach", "contiguous") and graph.is_view(op))


def _disagreement(graph: Graph, op: Op | None, timed: Timed | None) -> ModelError:
    traced = f"{op.name} in {op.module or 'the network itself'} (op {op.id})" if op else "nothing more"
    ran = f"{timed.name} in {timed.module or 'the network itself'}" if timed else "nothing more"
    return ModelError(
        f"cannot time the ops of {graph.name}: its run differs from its trace: traced {traced}, ran {ran}; "
        "the code depends on the device or on values; time the whole only (--no-ops)"
    )
