"""CPUs of AWS c5 against T4 and V100: time and images a dollar, in each way to run either."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from roofline import units
from roofline.costmodel.analysis import Analysis
from roofline.costmodel.hardware import load_hardware
from trials.networks import priced
from trials.spread import time_of
from trials.verdict import Bar, Case, Claim, Estimate, Part, Table, short

NETWORKS = ("efficientnet_b0", "efficientnet_b3")
SMALL, LARGE = "c5.2xlarge", "c5.9xlarge"
GPUS = ("t4", "v100")
ZEROS = 0.8
"""Share of weights that are zero in a sparse network: stored compressed, or as a bound skipped too."""

DEPTH_FIRST = "depth-first=1MiB"
"""Chains of layers in the level-2 cache of one core, which holds 1 MiB on the Xeons of c5 (hardware/xeon-8124m.yaml)."""


@dataclass(frozen=True, slots=True)
class Way:
    """A way to run a network. A *bound* leaves out all time that kernels wait for memory, and the share *zeros* of the products."""

    name: str
    mode: str = "eager"
    precision: str = "fp32"
    what_if: tuple[str, ...] = ()
    bound: bool = False
    zeros: float = 0.0

    def runs(self, network: str, devices: Sequence[str]) -> tuple[Analysis, ...]:
        """Analyze *network* so."""
        return priced(network, tuple(devices), mode=self.mode, precision=self.precision, what_if=self.what_if)

    def time(self, analysis: Analysis) -> Estimate:
        """Predicted seconds of a batch; those of a bound lie anywhere between it and what the engine takes."""
        found = time_of(analysis)
        if not self.bound:
            return found
        least = found * (without_memory(analysis, self.zeros) / analysis.latency)
        return Estimate(least.value, least.low, found.high)


CPU_WAYS = (
    Way("eager PyTorch"),
    Way("compiled", "compiled"),
    Way("engine", "engine"),
    Way("engine with 80 % zero weights", "engine", what_if=(f"sparse-weights={ZEROS:g}",)),
    Way("depth-first engine", "engine", what_if=(DEPTH_FIRST,)),
    Way("int8 engine", "engine", "int8"),
    Way("depth-first int8 engine", "engine", "int8", (DEPTH_FIRST,)),
    Way("bound: no traffic", "engine", bound=True),
    Way("bound: no traffic and zeros skipped", "engine", bound=True, zeros=ZEROS),
)
"""Ways to run a c5, fp32 unless said. A bound is what an engine would take whose kernels never waited for memory."""

ENGINES = tuple(way for way in CPU_WAYS if way.mode == "engine" and not way.bound)
"""The ways that the claims speak of; the others stand in the tables beside them."""

GPU_WAYS = (
    Way("eager"), Way("eager fp16", precision="fp16"), Way("CUDA graphs", what_if=("cuda-graphs",)), Way("compiled", "compiled"),
    Way("engine", "engine"), Way("engine fp16", "engine", "fp16"),
)  # fmt: skip
"""Ways to run a GPU, fp32 unless said."""


@dataclass(frozen=True, slots=True)
class Race:
    """One comparison that was claimed: *cpu* at least *times* as fast as *gpus* at *batch*, or as cheap an image."""

    table: str
    statement: str
    cpu: str
    gpus: tuple[str, ...]
    batch: int
    times: float
    money: bool = False


UNTIMED = "No depth-first engine was timed, and no sparse one: their intervals are those of engines."

RACES = (
    Race("5b", "a 4-core c5 is more than twice as fast as a T4 at batch 1", SMALL, ("t4",), 1, 2.0),
    Race("5c", "a 4-core c5 is more than three times as fast as a V100 at batch 1", SMALL, ("v100",), 1, 3.0),
    Race("5d", "an 18-core c5 is twice as fast as a T4 at batch 64", LARGE, ("t4",), 64, 2.0),
    Race("5e", "a 4-core c5 gives 10 to 30 times the images a dollar at batch 1", SMALL, GPUS, 1, 10.0, money=True),
    Race("5f", "an 18-core c5 gives 30 to 80 % more images a dollar at batch 64", LARGE, GPUS, 64, 1.3, money=True),
)  # fmt: skip


def claim(networks: Sequence[str] = NETWORKS) -> Claim:
    """Try each race for every pair of ways."""
    parts = tuple(
        Part(race.statement, ("images a dollar" if race.money else "speed") + ", CPU / GPU", Bar(least=race.times), _cases(race, networks),
             race.table)
        for race in RACES
    )  # fmt: skip
    return Claim(
        "CPUs against GPUs",
        "On EfficientNets, a 4-core c5 with an engine that removes memory traffic is more than 2 times as fast as a T4 and 3 times as "
        "fast as a V100 at batch 1; an 18-core c5 is 2 times as fast as a T4 at batch 64; a c5 gives 10 to 30 times the images a dollar "
        "at batch 1, and 30 to 80 % more at batch 64.",
        "claimed for CPU engines; tried here for each engine on the c5 against every way to run the GPU, as the claims do not say how it "
        "was run",
        parts,
        (_times(networks), *(_grid(race, networks) for race in RACES)),
        tuple(line for race, part in zip(RACES, parts, strict=True) for line in _says(race, part, networks)),
    )


def without_memory(analysis: Analysis, zeros: float = 0.0) -> float:
    """Seconds of a batch if no kernel waited for memory, and the share *zeros* of matrix products cost nothing."""
    i, times, columns = analysis.index, analysis.times, analysis.columns
    total = columns.matrix_flops[i] + columns.vector_flops[i]
    product = np.divide(columns.matrix_flops[i], total, out=np.zeros_like(total), where=total > 0)
    return float(np.sum(times.compute[i] / times.fill[i] * (1 - zeros * product) + times.overhead[i]))


@cache
def _run(way: Way, network: str, device: str, batch: int) -> Analysis:
    return next(a for a in way.runs(network, (device,)) if a.batch == batch)


def _estimate(race: Race, network: str, cpu: Way, gpu: Way, device: str) -> Estimate:
    """How many times faster, or cheaper an image, the CPU is."""
    ours, theirs = _run(cpu, network, race.cpu, race.batch), _run(gpu, network, device, race.batch)
    faster = gpu.time(theirs) / cpu.time(ours)
    return faster * (_price(device) / _price(race.cpu)) if race.money else faster


def _price(device: str) -> float:
    price = load_hardware(device).price
    if price is None:
        raise ValueError(f"{device} has no price")
    return price.usd_per_hour


def _cases(race: Race, networks: Sequence[str]) -> tuple[Case, ...]:
    return tuple(
        Case({"c5 runs": cpu.name, "GPU runs": gpu.name, "network": network, "GPU": device}, _estimate(race, network, cpu, gpu, device))
        for network in networks for cpu in ENGINES for device in race.gpus for gpu in GPU_WAYS
    )  # fmt: skip


def _grid(race: Race, networks: Sequence[str]) -> Table:
    bar = Bar(least=race.times)

    def cell(e: Estimate) -> str:
        return f"{e} {bar.judge(e)}"

    rows = [
        (network, device, cpu.name, *(cell(_estimate(race, network, cpu, gpu, device)) for gpu in GPU_WAYS))
        for network in networks for device in race.gpus for cpu in CPU_WAYS
    ]  # fmt: skip
    what = "Images a dollar" if race.money else "Speed"
    title = f"{race.table}. {what} of {race.cpu} over that of the GPU at batch {race.batch}, by how the GPU runs; the bar: {bar}"
    return Table(title, ("network", "GPU", "c5 runs", *(gpu.name for gpu in GPU_WAYS)), rows)


def _times(networks: Sequence[str]) -> Table:
    rows: list[tuple[str, ...]] = []
    sides = ((SMALL, 1, CPU_WAYS), (LARGE, 64, CPU_WAYS), *((g, b, GPU_WAYS) for b in (1, 64) for g in GPUS))
    for network in networks:
        for device, batch, ways in sides:
            for way in ways:
                a = _run(way, network, device, batch)
                e, status = way.time(a), "bound" if way.bound else a.calibration.status
                rows.append((network, device, str(batch), way.name, units.seconds(e.value),
                             f"{units.seconds(e.low)} to {units.seconds(e.high)}",
                             units.significant(_price(device) / 3600 * e.value / batch * 1e6), status))  # fmt: skip
    prices = "; ".join(
        f"{device} ${p.usd_per_hour:g} an hour ({p.instance}, {p.region}, {p.date})"
        for device in (SMALL, LARGE, *GPUS) if (p := load_hardware(device).price)
    )  # fmt: skip
    header = ("network", "device", "batch", "runs", "time", "80 % between", "$/million", "parameters")
    return Table("5a. Time of a batch in each way, fp32 unless said", header, rows, f"Prices on demand: {prices}. " + UNTIMED)  # fmt: skip


def _says(race: Race, part: Part, networks: Sequence[str]) -> Iterator[str]:
    """Name the pairs of ways that make a race true, what comes nearest against each kind of rival, and what a bound would reach."""
    held = part.that("yes")
    pairs = f"true for {_pairs(held)}" if held else "surely true for no pair of ways"
    told: list[str] = []
    for start, word in (("eager", "in eager mode"), ("engine", "in an engine")):
        best = max((c for c in part.cases if c.at["GPU runs"].startswith(start)), key=lambda c: c.estimate.value)
        told.append(f"{best.estimate} against a GPU {word} ({best.name})")
    bounds = [
        _estimate(race, network, cpu, gpu, device) for network in networks for cpu in CPU_WAYS if cpu.bound
        for device in race.gpus for gpu in GPU_WAYS if gpu.mode == "engine"
    ]  # fmt: skip
    most = max(bounds, key=lambda e: e.value)
    yield (
        f"{part.statement}: {pairs}. The most is {'; '.join(told)}. Without memory traffic, and with 80 % of products skipped, it would "
        f"be {short(most.value)} against an engine"
    )


def _pairs(cases: Sequence[Case]) -> str:
    """Write cases as: CPU ways against GPU ways (networks and GPUs)."""
    found: dict[tuple[str, str], list[str]] = {}
    for case in cases:
        what = f"{case.at['network'].removeprefix('efficientnet_').upper()} and {case.at['GPU']}"
        found.setdefault((case.at["c5 runs"], what), []).append(case.at["GPU runs"])
    merged: dict[tuple[str, str], list[str]] = {}
    for (cpu, what), gpus in found.items():
        merged.setdefault((cpu, ", ".join(gpus)), []).append(what)
    return "; ".join(f"{cpu} against {gpus} ({', '.join(whats)})" for (cpu, gpus), whats in merged.items())
