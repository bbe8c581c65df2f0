"""Time several small networks in turn, so that each finds the machine as an op finds it within a network.

An op in a network follows other ops: its code has left the nearest cache, its weights wait where a whole run has pushed
them, and moments in which something else disturbs the machine hit all alike. A loop around one op sees none of that: on
a two-core EPYC it takes 20 to 30 % less than the same op does in a network.
"""

import ctypes
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch

from roofline.errors import RooflineError
from roofline.measurement.environment import elsewhere, environment, usage
from roofline.measurement.measurement import Measurement, quartiles
from roofline.measurement.shapes import Case
from roofline.measurement.subject import Subject, first_line, prepare
from roofline.measurement.timer import ENOUGH, FEWEST, TARGET, Clock, CudaTimer, Timer, WallTimer, standard_error, timed
from roofline.tracing.source import trace

WARM_UP_ROUNDS = 2

MOST_ROUNDS = 200

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
"""Parameters of glibc's mallopt."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Say why something could not be measured: a network that this timm lacks, a batch that memory cannot hold."""

    label: str
    why: str


def rotate(
    cases: Sequence[Case], device: str, *, threads: int, seconds: float, clock: Clock = time.perf_counter
) -> tuple[Measurement | Failure, ...]:
    """Run *cases* round by round until the median of each is known to 1 %, or *seconds* are up; three rounds at least."""
    timer = CudaTimer() if device == "cuda" else WallTimer(clock)
    with _settings(device, threads), torch.inference_mode():
        made = [_made(case, device) for case in cases]
        ready = {case.label: subject for case, subject in zip(cases, made, strict=True) if isinstance(subject, Subject)}
        failed = {subject.label: subject for subject in made if isinstance(subject, Failure)}
        before = usage()
        times, broken = _rounds(ready, timer, seconds, clock)
        facts = {**environment(device, threads=threads), **elsewhere(before, usage())}
    failed |= broken
    return tuple(failed.get(case.label) or _measurement(case, device, threads, times[case.label], facts) for case in cases)


def _made(case: Case, device: str) -> Subject | Failure:
    try:
        module = case.build()
        graph = trace(module, case.example)
        return prepare(module, graph, spec=None, device=device, precision=case.precision, layout="nchw")
    except (RooflineError, RuntimeError) as error:
        return Failure(case.label, first_line(error))


def _rounds(ready: dict[str, Subject], timer: Timer, budget: float, clock: Clock) -> tuple[dict[str, list[float]], dict[str, Failure]]:
    """Return the times of each of *ready*, and what failed."""
    begun, times, broken = clock(), {label: list[float]() for label in ready}, dict[str, Failure]()
    for count in range(MOST_ROUNDS):
        for label, subject in ready.items():
            if label not in broken:
                _take(label, subject.run, timer, times, broken)
        if count == WARM_UP_ROUNDS - 1:
            times = {label: [] for label in ready}
        taken = count + 1 - WARM_UP_ROUNDS
        if taken >= FEWEST and (
            clock() - begun >= budget or (taken >= ENOUGH and _known(times[label] for label in ready if label not in broken))
        ):
            break
    return times, broken


def _take(label: str, run: Callable[[], object], timer: Timer, times: dict[str, list[float]], broken: dict[str, Failure]) -> None:
    try:
        times[label].append(timed(run, timer))
    except RuntimeError as error:  # no memory, no kernel for this type
        broken[label] = Failure(label, first_line(error))


def _known(all_times: Any) -> bool:
    return all(standard_error(times) < TARGET * quartiles(times)[1] for times in all_times)


def _measurement(case: Case, device: str, threads: int, times: Sequence[float], facts: dict[str, Any]) -> Measurement:
    shapes = tuple(f"{' x '.join(map(str, shape))} fp32" for shape in case.example)
    return Measurement(case.label, device, case.batch, shapes, case.precision, "eager", "nchw", threads, tuple(times), (), facts)


@contextmanager
def _settings(device: str, threads: int) -> Generator[None, None, None]:
    """Set threads, denormals, the GPU's arithmetic and the allocator, and put them back."""
    with ExitStack() as stack:
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(threads)
        stack.callback(torch.set_flush_denormal, _flushes_denormals())
        torch.set_flush_denormal(True)  # as in `measure`: what decays in a chain must not slow it
        if device == "cuda":
            for holder, name, value in (
                (torch.backends.cudnn, "benchmark", True),
                (torch.backends.cudnn, "allow_tf32", False),
                (torch.backends.cuda.matmul, "allow_tf32", False),
            ):
                stack.callback(setattr, holder, name, getattr(holder, name))
                setattr(holder, name, value)
        stack.enter_context(keeping_memory())
        yield


def _flushes_denormals() -> bool:
    """Tell whether this thread takes denormals for zero already."""
    return (torch.tensor(1e-40) * 1).item() == 0


@contextmanager
def keeping_memory() -> Generator[None, None, None]:
    """Let the allocator keep what is freed, where it is glibc's: else it gives memory back, by rules that depend on all it gave before.

    What that costs is a ceiling of its own ("fresh"): every page asked for anew is cleared by the system first. Afterwards
    the allocator is set as one that has served large tensors for long.
    """
    mallopt = None
    with suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
    if mallopt is None:
        yield
        return
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        mallopt(_MMAP_MAX, 65536)
        mallopt(_MMAP_THRESHOLD, 32 * 2**20)
        mallopt(_TRIM_THRESHOLD, 64 * 2**20)
