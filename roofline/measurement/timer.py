"""Turn a run into seconds, and runs into enough of them: clocks, warm-up, and the rule that ends the repetition."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import pi, sqrt
from typing import Any, Protocol

from roofline.measurement.measurement import quartiles, spread

Clock = Callable[[], float]
"""Seconds since any moment; tests pass one of their own."""

TARGET = 0.01
"""Standard error of the median, as a share of the median, at which enough runs were timed."""

FEWEST = 3
"""Runs that are timed whatever the budget: no spread can be told from fewer."""

ENOUGH = 10
"""Runs needed before their spread is trusted."""

AT_LEAST = 0.2
"""Seconds that warm-up and repetition last (timeit's autorange stops there too): a burst of short runs sees one moment only."""

STILL_WARMING = 0.95
"""A warm-up run this much shorter than the best before it shows that the next may be shorter still."""

FASTEST_GPU = 3e9
"""Clocks a second that no GPU exceeds, to turn a wait into clocks (an RTX 5090 boosts to 2.4 GHz)."""

Tick = Callable[[float], None]
"""Told after each run which share of the budget is used."""


class Timer(Protocol):
    """Mark moments of a run, and turn pairs of them into seconds once the device has passed them."""

    def mark(self) -> Any:
        """Remember this moment."""
        ...

    def wait(self) -> None:
        """Return when the device has passed every mark."""
        ...

    def seconds(self, start: Any, end: Any) -> float:
        """Return the time between two marks that were waited for."""
        ...

    def hold(self, seconds: float) -> None:
        """Keep an asynchronous device busy for about *seconds*, so that the host gets ahead of it."""
        ...


@dataclass(frozen=True, slots=True)
class WallTimer:
    """Time a processor that has finished each op when its call returns."""

    clock: Clock = time.perf_counter

    def mark(self) -> float:
        """Read the clock."""
        return self.clock()

    def wait(self) -> None:
        """Return at once: nothing is under way."""

    def seconds(self, start: float, end: float) -> float:
        """Subtract two readings."""
        return end - start

    def hold(self, seconds: float) -> None:
        """Do nothing: host and device are one."""


@dataclass(frozen=True, slots=True)
class CudaTimer:
    """Time a GPU by events in its own stream: what the host does meanwhile costs only where the GPU waits for it."""

    def mark(self) -> Any:
        """Record an event."""
        import torch

        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def wait(self) -> None:
        """Wait until the GPU is idle."""
        import torch

        torch.cuda.synchronize()

    def seconds(self, start: Any, end: Any) -> float:
        """Return the time between two events; CUDA gives milliseconds, in steps of about 0.5 us."""
        return start.elapsed_time(end) * 1e-3

    def hold(self, seconds: float) -> None:
        """Queue a kernel that spins."""
        import torch

        torch.cuda._sleep(int(seconds * FASTEST_GPU))  # pyright: ignore[reportPrivateUsage]


def timed(call: Callable[[], object], timer: Timer) -> float:
    """Return the seconds that *call* takes, from an idle device to an idle device."""
    timer.wait()
    start = timer.mark()
    call()
    end = timer.mark()
    timer.wait()
    return timer.seconds(start, end)


def warm_up(run: Callable[[], float], budget: float, clock: Clock) -> int:
    """Call *run*, which returns its seconds, until it no longer gets faster or *budget* seconds are up; return how often.

    That takes at least three runs and 0.2 s, if the budget allows: caches, allocators and clocks settle, cuDNN chooses its algorithms.
    """
    begun, runs, best = clock(), 0, float("inf")
    while True:
        seconds = run()
        runs += 1
        elapsed = clock() - begun
        settled = runs >= FEWEST and elapsed >= AT_LEAST and seconds > STILL_WARMING * best
        if settled or elapsed >= budget:
            return runs
        best = min(best, seconds)


def repeat(run: Callable[[], float], budget: float, clock: Clock, tick: Tick) -> tuple[float, ...]:
    """Call *run*, which returns its seconds, until the median is known to 1 % or *budget* seconds are up; return all times.

    The spread is looked at each time the number of runs has grown by a tenth, so that looking costs little.
    """
    begun, times, look = clock(), list[float](), ENOUGH
    while True:
        times.append(run())
        elapsed = clock() - begun
        tick(min(elapsed / budget, 1.0))
        if elapsed >= budget and len(times) >= FEWEST:
            return tuple(times)
        if len(times) >= look and elapsed >= AT_LEAST:
            if standard_error(times) < TARGET * quartiles(times)[1]:
                return tuple(times)
            look = len(times) * 11 // 10 + 1


def standard_error(times: Sequence[float]) -> float:
    """Estimate how far the median of *times* lies from the true one: `sqrt(pi / 2) * sigma / sqrt(n)`, and `sigma = IQR / 1.349`.

    Both hold for normal deviates; the interquartile range keeps outliers (an interrupt) from counting.
    """
    return sqrt(pi / 2) * spread(times) / 1.349 / sqrt(len(times))
