"""Turn this machine into its ceilings: the best rates of products and of memory traffic, and what a call costs that does nothing.

Each ceiling comes from a probe: one PyTorch call on tensors of one size, repeated. A ceiling is what the machine can
reach, so the shortest time counts, however busy it was at others; all times are kept.
"""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from mmap import mmap
from operator import attrgetter
from typing import Any, Literal, get_args

import torch
from torch import nn

from roofline.measurement.timer import Clock, CudaTimer, Timer, WallTimer, repeat, warm_up
from roofline.units import FLOPS_PER_MAC

What = Literal["gemm", "conv", "read", "write", "copy", "fresh", "call", "op", "view", "region", "launch", "graph", "compiled"]
WHATS = get_args(What)
"""What a probe measures: FLOP/s of a product or a 3x3 convolution; B/s of reading, writing or copying memory, or of writing
memory that the allocator has just asked the system for; seconds of a bare call, of a module that does next to nothing, of
one that makes a view, of a parallel region on a CPU, of a kernel in a stream, of one in a CUDA graph, and of a small network
compiled for a CPU."""

PATTERNS: tuple[What, ...] = ("read", "write", "copy")

USEFUL = 0.25
"""Share of the fp32 rate below which a data type is taken to be emulated, and measured at one small size only."""

PROBE_SIZE = 128
"""Side of the product that tells whether a data type is worth measuring."""

SIDES = {"cpu": (256, 512, 1024, 2048), "cuda": (1024, 2048, 4096, 8192)}
QUICK_SIDES = {"cpu": (512, 1024), "cuda": (2048, 4096)}

CONVS = {"cpu": ((1, 64, 56), (1, 128, 28), (8, 256, 14)), "cuda": ((64, 64, 56), (64, 128, 28), (128, 256, 14))}
"""Batch, channels and side of dense 3x3 convolutions."""

DTYPES = {"cpu": ("fp32", "bf16", "fp16", "int8"), "cuda": ("fp32", "tf32", "bf16", "fp16", "int8")}

_TORCH = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "int8": torch.int8}

SMALLEST = {"cpu": 32 * 2**10, "cuda": 2**20}
"""Bytes of the smallest working set: the first-level cache of a core, and less than the second-level cache of any GPU."""

LARGEST = 2**30
"""Bytes of the largest working set, whatever the size of the last cache."""

FRESH = 2**26
"""Bytes of memory asked of the system anew for each write, as the GNU allocator does for tensors of 32 MiB and more."""

CHAINS = (2, 10)
"""Blocks of the compiled networks whose difference tells what a kernel costs in compiled code."""

KERNELS, WIDTH = 6, 16
"""Kernels of such a block (three convolutions, and what follows each), and the channels of all."""

GRAIN = 32768
"""Elements from which PyTorch splits elementwise work over threads (at::internal::GRAIN_SIZE)."""

LONG = 2e-4
"""Seconds that one timed run takes at least: shorter calls are repeated in it."""

MANY = {"cpu": 4096, "cuda": 256}
"""Most calls in one run; on a GPU far fewer than its queue holds (1,024), so that the host never waits for a place."""

LAUNCHES = 100
"""Kernels in the CUDA graph whose replay is timed."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One call to repeat: *work* is what it does (FLOPs, bytes, or 1), *size* the side of a product or the bytes it touches."""

    label: str
    what: What
    dtype: str
    size: int
    threads: int
    work: float
    prepare: Callable[[str], Callable[[], object]]
    small: bool = False
    """Whether this size only tells if the data type is worth the others."""


@dataclass(frozen=True, slots=True)
class Rate:
    """What a probe gave: its seconds a call, run by run; none where PyTorch cannot do it."""

    label: str
    what: What
    dtype: str
    size: int
    threads: int
    work: float
    seconds: tuple[float, ...]

    @property
    def best(self) -> float:
        """Shortest time of a call; infinite where there is none."""
        return min(self.seconds, default=float("inf"))

    @property
    def rate(self) -> float:
        """Work done in a second at best."""
        return self.work / self.best


def probes(device: str, *, threads: int, caches: Iterable[float], quick: bool = False) -> tuple[Probe, ...]:
    """List what to measure: *caches* are the sizes in bytes of the caches, in any order."""
    counts = sorted({1, threads}) if device == "cpu" else [threads]
    sides = (QUICK_SIDES if quick else SIDES)[device]
    found: list[Probe] = []
    found += _calls(device, threads)
    found += (_chain(blocks, threads) for blocks in CHAINS if device == "cpu" and not quick)
    found += (_gemm(dtype, PROBE_SIZE, counts[0], small=True) for dtype in DTYPES[device])
    for count in reversed(counts):  # all threads first: what a run cut short should have
        found += (_gemm(dtype, side, count) for dtype in DTYPES[device] for side in sides)
        found += (_conv(*sizes, count) for sizes in CONVS[device])
    sets = working_sets(device, tuple(caches), quick=quick)
    found += (_traffic(what, size, count) for size in sets for what in PATTERNS for count in reversed(counts))
    return (*found, _traffic("fresh", FRESH, threads)) if device == "cpu" else tuple(found)


def worthwhile(probe: Probe, known: Iterable[Rate]) -> bool:
    """Tell whether a product in this data type runs fast enough on one thread to be measured at more sizes than the small one."""
    if probe.what != "gemm" or probe.small or probe.dtype == "fp32":
        return True
    rates = {rate.dtype: rate.rate for rate in known if rate.what == "gemm" and rate.size == PROBE_SIZE}
    return rates.get(probe.dtype, 0.0) >= USEFUL * rates.get("fp32", 0.0) > 0


def run(probe: Probe, device: str, budget: float, clock: Clock = time.perf_counter) -> Rate:
    """Warm up and repeat *probe* until its spread is small or *budget* seconds are up."""
    facts = (probe.label, probe.what, probe.dtype, probe.size, probe.threads, probe.work)
    timer = WallTimer(clock) if device == "cpu" or probe.what in ("call", "op", "view") else CudaTimer()
    with _settings(device, probe), torch.inference_mode():
        try:
            call = probe.prepare(device)
            call()
        except (RuntimeError, NotImplementedError, ValueError):  # no such kernel here, or no memory for it
            return Rate(*facts, ())
        count = _calls_in_a_run(call, timer, MANY[device])
        ahead = _host_seconds(call, count, clock) if isinstance(timer, CudaTimer) else 0.0

        def once() -> float:
            return _timed(call, count, timer, ahead)

        warm_up(once, budget * 0.2, clock)
        return Rate(*facts, repeat(once, budget * 0.8, clock, lambda _: None))


def _calls_in_a_run(call: Callable[[], object], timer: Timer, most: int) -> int:
    """Count the calls that take long enough together to be timed."""
    count = 1
    while count < most and _timed(call, count, timer, 0.0) * count < LONG:
        count *= 2
    return count


def _times(call: Callable[[], object], count: int) -> None:
    for _ in range(count):
        call()


def _host_seconds(call: Callable[[], object], count: int, clock: Clock) -> float:
    begun = clock()
    _times(call, count)
    return clock() - begun


def _timed(call: Callable[[], object], count: int, timer: Timer, ahead: float) -> float:
    """Return the seconds of one of *count* calls; a GPU is first held for *ahead* seconds, so that it never waits for the host."""
    timer.wait()
    timer.hold(ahead)
    start = timer.mark()
    _times(call, count)
    end = timer.mark()
    timer.wait()
    return timer.seconds(start, end) / count


@contextmanager
def _settings(device: str, probe: Probe) -> Generator[None, None, None]:
    """Set threads and the GPU's arithmetic for one probe, and put them back."""
    with ExitStack() as stack:
        if device == "cpu":
            stack.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(probe.threads)
        else:
            tf32 = probe.dtype == "tf32"
            _put(stack, torch.backends.cudnn, "benchmark", value=True)
            _put(stack, torch.backends.cudnn, "allow_tf32", value=tf32)
            _put(stack, torch.backends.cuda.matmul, "allow_tf32", value=tf32)
        yield


def _put(stack: ExitStack, holder: Any, name: str, *, value: bool) -> None:
    stack.callback(setattr, holder, name, getattr(holder, name))
    setattr(holder, name, value)


# --- products --------------------------------------------------------------------------------------------------------


def _gemm(dtype: str, side: int, threads: int, *, small: bool = False) -> Probe:
    def prepare(device: str) -> Callable[[], object]:
        if dtype == "int8":
            left, right = (torch.randint(-8, 8, (side, side), dtype=torch.int8, device=device) for _ in range(2))
            return lambda: torch._int_mm(left, right)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
        left, right = (torch.randn(side, side, device=device).to(_TORCH[dtype]) for _ in range(2))
        out = torch.empty_like(left)
        return lambda: torch.mm(left, right, out=out)

    flops = float(FLOPS_PER_MAC * side**3)
    return Probe(f"gemm {dtype} {side} t{threads}", "gemm", dtype, side, threads, flops, prepare, small)


def _conv(batch: int, width: int, side: int, threads: int) -> Probe:
    def prepare(device: str) -> Callable[[], object]:
        conv = nn.Conv2d(width, width, 3, padding=1, bias=False, device=device)
        x = torch.randn(batch, width, side, side, device=device)
        return lambda: conv(x)

    flops = float(FLOPS_PER_MAC * 9 * width * width * side * side * batch)
    return Probe(f"conv fp32 {batch}x{width}x{side}x{side} t{threads}", "conv", "fp32", width, threads, flops, prepare)


# --- memory ----------------------------------------------------------------------------------------------------------


def working_sets(device: str, caches: Sequence[float], *, quick: bool = False) -> tuple[int, ...]:
    """List sizes in bytes from within the first cache to four times the last one, and for each cache half and a quarter of it."""
    last = max(caches, default=8 * 2.0**20)
    largest = min(max(4 * last, 2.0**26), LARGEST)
    step = 4 if quick else 2
    ladder: list[float] = [float(SMALLEST[device])]
    while ladder[-1] * step < largest:
        ladder.append(ladder[-1] * step)
    return tuple(sorted({int(size) // 1024 * 1024 for size in (*ladder, largest, *(size / part for size in caches for part in (2, 4)))}))


def _traffic(what: What, size: int, threads: int) -> Probe:
    """Touch *size* bytes in all: a copy reads one half and writes the other, and counts both."""

    def prepare(device: str) -> Callable[[], object]:
        count = size // 4
        if what == "fresh":
            return lambda: torch.frombuffer(mmap(-1, size), dtype=torch.float32).fill_(1.0)
        first, second = torch.ones(count, device=device).chunk(2)
        whole = torch.ones(count, device=device)
        if what == "read":
            return lambda: torch.dot(first, second)
        return (lambda: whole.fill_(2.0)) if what == "write" else (lambda: second.copy_(first))

    return Probe(f"{what} {size} t{threads}", what, "fp32", size, threads, float(size), prepare)


def windows(levels: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """Give the working sets in bytes that tell the speed of each level, from far to near: beyond the next nearer, within itself."""
    sizes = [*levels.values(), 0.0]
    found = {name: (2 * sizes[i + 1] or sizes[i] / 8, sizes[i] / 2) for i, name in enumerate(levels)}
    return {**found, next(iter(levels)): (3 * sizes[1], float("inf"))}


def by_level(
    rates: Iterable[Rate], levels: Mapping[str, float], *, threads: int, private: Sequence[str] = ()
) -> dict[str, dict[str, Rate]]:
    """Choose the best rate of each pattern on each of *levels*, which maps names to bytes from far (DRAM) to near.

    What a call costs that touches nothing is taken off. A *private* level is one that each core has to itself: what one
    thread reaches on its share counts too, once for each thread, as it needs no parallel region.
    """
    rates = tuple(rates)
    idle = min((rate.best for rate in rates if rate.what == "call"), default=0.0)
    traffic = [_net(rate, idle) for rate in rates if rate.what in PATTERNS and rate.seconds]
    found: dict[str, dict[str, Rate]] = {}
    for name, (low, high) in windows(levels).items():
        whole = [rate for rate in traffic if rate.threads == threads and low <= rate.size <= high]
        single = [rate for rate in traffic if rate.threads == 1 and low <= rate.size * threads <= high] if name in private else []
        chosen = [*whole, *(replace(rate, work=rate.work * threads) for rate in single if threads > 1)]
        found[name] = {what: max(same, key=attrgetter("rate")) for what in PATTERNS if (same := [r for r in chosen if r.what == what])}
    return found


def _net(rate: Rate, idle: float) -> Rate:
    """Take the *idle* seconds of a call off, but never more than half of its time."""
    return replace(rate, seconds=tuple(max(s - idle, s / 2) for s in rate.seconds))


# --- calls that do nothing -------------------------------------------------------------------------------------------


def _calls(device: str, threads: int) -> Iterator[Probe]:
    tiny: tuple[tuple[What, Callable[[str], Callable[[], object]]], ...] = (("call", _bare), ("op", _module), ("view", _view))
    for what, prepare in tiny:
        yield Probe(f"{what} t{threads}", what, "fp32", 1, threads, 1.0, prepare)
    if device == "cuda":
        yield Probe("launch", "launch", "fp32", 1, threads, 1.0, _bare)
        yield Probe("graph", "graph", "fp32", 1, threads, float(LAUNCHES), _replay)
        return
    for count in sorted({1, threads}):
        yield Probe(f"region t{count}", "region", "fp32", 2 * GRAIN, count, 1.0, _region)


def _bare(device: str) -> Callable[[], object]:
    x = torch.ones(1, device=device)
    return lambda: x.fill_(1.0)


def _module(device: str) -> Callable[[], object]:
    """Call a module as a network does, on a tensor of one element."""
    module, x = nn.ReLU().eval(), torch.ones(1, 1, 1, 1, device=device)
    return lambda: module(x)


def _view(device: str) -> Callable[[], object]:
    x = torch.ones(1, 1, 1, 1, device=device)
    return lambda: x.flatten(1)


def _region(device: str) -> Callable[[], object]:
    """Fill a tensor just large enough to be split over two threads: what it takes beyond its share of one thread is the region."""
    x = torch.ones(2 * GRAIN, device=device)
    return lambda: x.fill_(1.0)


def _replay(device: str) -> Callable[[], object]:
    x = torch.ones(1, device=device)
    x.fill_(1.0)
    torch.cuda.synchronize()
    graph: Any = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(LAUNCHES):
            x.fill_(1.0)
    return graph.replay


def _chain(blocks: int, threads: int) -> Probe:
    """Compile a network of *blocks* whose kernels have next to nothing to do: pointwise, depthwise and 3x3 convolutions."""

    def prepare(device: str) -> Callable[[], object]:
        network = nn.Sequential(*(layer for _ in range(blocks) for layer in _block())).eval().to(device)
        torch.compiler.reset()
        compiled, x = torch.compile(network), torch.ones(1, WIDTH, 4, 4, device=device)
        return lambda: compiled(x)

    return Probe(f"compiled {blocks} t{threads}", "compiled", "fp32", blocks * KERNELS, threads, float(blocks * KERNELS), prepare)


def _block() -> Iterator[nn.Module]:
    for side, groups in ((1, 1), (3, WIDTH), (3, 1)):
        yield nn.Conv2d(WIDTH, WIDTH, side, padding=side // 2, groups=groups, bias=False)
        yield nn.BatchNorm2d(WIDTH)
        yield nn.ReLU()


def compiled_seconds(rates: Iterable[Rate]) -> float | None:
    """Return what one more kernel takes in compiled code that has next to nothing to do; None where it was not measured."""
    found = sorted((rate for rate in rates if rate.what == "compiled" and rate.seconds), key=attrgetter("size"))
    if len(found) < len(CHAINS):
        return None
    short, long = found[0], found[-1]
    return max((long.best - short.best) / (long.size - short.size), 0.0)


def region_seconds(rates: Iterable[Rate], threads: int) -> float | None:
    """Return what starting and ending a parallel region of *threads* takes; None for a single thread, or where it was not measured."""
    best = {rate.threads: rate.best for rate in rates if rate.what == "region" and rate.seconds}
    if threads < 2 or not {1, threads} <= set(best):
        return None
    return max(best[threads] - best[1] / min(threads, 2), 0.0)
