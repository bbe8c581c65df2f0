"""Turn this machine into a CalibrationRun: its ceilings, the time of each kind of op over a designed set of shapes, and of a few networks.

Everything measured goes to a journal at once, so a run that was killed goes on where it was. Cases are timed in turn with
one another (`rotation.py` says why, `shapes.py` what a case is), networks whole and op by op, each in a process of its own
(`apart.py`): the first tell how fast each kind of op can be, the others what Python, the dispatcher and the allocator add.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import torch

from roofline.costmodel.device import Hardware
from roofline.costmodel.host import inspect
from roofline.errors import RooflineError, UnknownNameError, UnsupportedError
from roofline.measurement.apart import measure_apart
from roofline.measurement.ceilings import WHATS, Probe, Rate, probes, worthwhile
from roofline.measurement.ceilings import run as run_probe
from roofline.measurement.environment import environment
from roofline.measurement.journal import Journal, open_journal
from roofline.measurement.measure import DEVICES
from roofline.measurement.measurement import Measurement
from roofline.measurement.rotation import Failure, rotate
from roofline.measurement.samples import samples
from roofline.measurement.shapes import Case, cases
from roofline.measurement.timer import Clock
from roofline.tracing.cache import folder

DESIGN = 2
"""Version of the set of cases and of how they are timed; raised whenever either changes."""

NETWORKS = (
    "mobilenetv3_small_100", "resnet18", "regnety_002", "convnext_atto", "efficientnet_lite0", "deit_tiny_patch16_224",
)  # fmt: skip
"""Networks that calibrate; those that validate are others."""

NETWORK_BATCHES = {"cpu": (1, 8), "cuda": (1, 8, 64)}

QUICK_NETWORKS = (("mobilenetv3_small_100", 1), ("resnet18", 1), ("mobilenetv3_small_100", 8), ("regnety_002", 8))

TIMES_KEPT, OP_TIMES_KEPT = 60, 20
"""Raw times that the journal keeps of a case or network, and of each op of a network: those at even steps of their ranking."""

Tell = Callable[[str, float, float], None]
"""Told what is measured next, which share of the work is done, and how many seconds are left."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Seconds that the whole may take, and a probe, a case and a network."""

    total: float
    probe: float
    case: float
    network: float


BUDGETS = {"quick": Budget(54, 0.05, 0.3, 5.5), "full": Budget(540, 0.25, 0.7, 10.0)}

GROUP = 12
"""Cases that are timed in turn with one another, and kept together: what a kill can lose."""

STARTING = 4.0
"""Seconds that a network takes besides being timed: a process of its own, which imports PyTorch and builds it."""

COMPILING = 30.0
"""Seconds more that torch.compile takes for one of NETWORKS, or so: 20 to 30 on two cores of an EPYC (2026-11-22)."""


@dataclass(frozen=True, slots=True)
class CalibrationRun:
    """What was measured on *device* with *threads*, when and on what; *left_out* counts what there was no time for.

    A measured case is a Measurement whose model is the label of the one *designed*; that of a network is its name and batch, and
    `compiled` where torch.compile made it. *reused* counts what an earlier run had measured.
    """

    device: str
    threads: int
    quick: bool
    date: str
    environment: Mapping[str, Any]
    rates: tuple[Rate, ...]
    cases: tuple[Measurement, ...]
    networks: tuple[Measurement, ...]
    designed: tuple[Case, ...]
    failures: tuple[Failure, ...]
    left_out: int
    reused: int
    path: Path

    @property
    def depth(self) -> str:
        """Quick or full."""
        return "quick" if self.quick else "full"

    @property
    def crowded(self) -> int:
        """Count the cases and networks during which other work left too few processors."""
        return sum(m.crowded for m in (*self.cases, *self.networks))

    @property
    def noisy(self) -> int:
        """Count the cases and networks whose times spread widely."""
        return sum(m.noisy for m in (*self.cases, *self.networks))


def calibrate(
    device: str = "cpu",
    *,
    quick: bool = False,
    compiled: bool = False,
    threads: int | None = None,
    restart: bool = False,
    state: Path | None = None,
    progress: Tell | None = None,
    clock: Clock = time.perf_counter,
    designed: Sequence[Case] | None = None,
    networks: Sequence[tuple[str, int]] | None = None,
) -> CalibrationRun:
    """Measure this machine's *device*: in about a minute if *quick*, within ten otherwise.

    With *compiled*, the networks are timed under torch.compile too, which takes COMPILING seconds longer for each.
    What is measured is kept in *state* (default: a file in the cache folder for this device, these versions and
    *threads*); a run that was stopped goes on there, and one that was finished less than a day ago is returned as it is,
    unless *restart* is given. *designed* and *networks* (name and batch) replace the cases and networks that are timed.
    """
    _check(device, threads)
    count = threads or torch.get_num_threads()
    found = environment(device, threads=count)
    key = _key(device, count, found, quick=quick)
    journal = open_journal(state or _state_path(device, key), key, restart=restart)
    plan = _plan(device, count, quick=quick, compiled=compiled, designed=designed, networks=networks)
    known = _known(journal.records)
    reused = sum(step.label in known for step in plan)
    if not any(record.get("what") == "end" and record.get("compiled", False) >= compiled for record in journal.records):
        known = _carry_out(plan, known, journal, _budget(plan, quick=quick), clock, progress or _silence)
        journal.add({"what": "end", "compiled": compiled})
    return _run(device, count, quick, found, plan, known, reused, journal)


def fitted(run: CalibrationRun, hardware: Hardware) -> list[dict[str, Any]]:
    """Fit the parameters of the time model to what was measured, given the device's *hardware* as measured: what a profile keeps of it."""
    from roofline.measurement.fit import calibrations_of

    found = samples(run.cases, run.networks, run.designed)
    fresh = next((rate.rate for rate in run.rates if rate.what == "fresh" and rate.seconds), None)
    return calibrations_of(found, hardware, data=f"roofline calibrate ({run.depth})", date=run.date, fresh=fresh) if found else []


def _check(device: str, threads: Any) -> None:
    if device not in DEVICES:
        raise UnknownNameError(f"cannot calibrate device {device!r}; use one of {', '.join(DEVICES)}")
    if device == "cuda" and not torch.cuda.is_available():
        raise UnsupportedError("cannot calibrate cuda: PyTorch finds no GPU here; use --device cpu")
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= 4096):
        raise RooflineError(f"bad number of threads {threads!r}; use 1 to 4096")


def _key(device: str, threads: int, found: Mapping[str, Any], *, quick: bool) -> dict[str, Any]:
    """Name everything that makes two calibrations the same."""
    same = {name: found[name] for name in ("name", "host", "cores", "torch", "timm", "cuda", "cudnn") if name in found}
    return {"design": DESIGN, "device": device, "threads": threads, "depth": "quick" if quick else "full", **same}


def _state_path(device: str, key: Mapping[str, Any]) -> Path:
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    return folder() / "calibration" / f"{device}-{key['depth']}-{digest}.jsonl"


def _silence(phase: str, share: float, left: float) -> None:
    """Tell nobody."""


# --- what to measure -------------------------------------------------------------------------------------------------

Result = Rate | Measurement | Failure

COMPILED = "compiled networks"
"""Phase of the networks that torch.compile makes."""


@dataclass(frozen=True, slots=True)
class Network:
    """A network by *name*, run at a *batch* size in a *mode*."""

    name: str
    batch: int
    mode: str = "eager"

    @property
    def label(self) -> str:
        """Name, batch, and `compiled` where it is."""
        return f"{self.name} b{self.batch}{' compiled' if self.mode == 'compiled' else ''}"

    @property
    def preparing(self) -> float:
        """Seconds before it can be timed, or so."""
        return STARTING + COMPILING * (self.mode == "compiled")


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to measure: a probe, a case or a network (its *item*), and the seconds it should take."""

    label: str
    phase: str
    seconds: float
    item: Probe | Case | Network
    device: str
    threads: int


def _carried_out(turn: Sequence[Step], seconds: float, clock: Clock, known: Iterable[Result]) -> Sequence[Result]:
    """Measure the steps of one turn in *seconds* together, or so."""
    first = turn[0]
    chosen = [step.item for step in turn if isinstance(step.item, Case)]
    if chosen:
        return rotate(chosen, first.device, threads=first.threads, seconds=seconds, clock=clock)
    if isinstance(first.item, Probe):
        useful = worthwhile(first.item, (r for r in known if isinstance(r, Rate)))
        return [run_probe(first.item, first.device, seconds, clock) if useful else _no_rate(first.item)]
    network = cast(Network, first.item)
    left = max(seconds - network.preparing, seconds / 4)
    try:
        found = measure_apart(network.name, first.device, batch=network.batch, mode=network.mode, threads=first.threads, seconds=left)
    except RooflineError as error:
        return [Failure(first.label, str(error))]
    return [replace(found, model=first.label)]


def _turns(steps: Sequence[Step]) -> Iterator[tuple[Step, ...]]:
    """Group cases that follow one another, whatever stands between them; all else is a turn alone."""
    left = list(steps)
    while left:
        first = left.pop(0)
        more = [step for step in left if isinstance(step.item, Case)][: GROUP - 1] if isinstance(first.item, Case) else []
        left = [step for step in left if step not in more]
        yield (first, *more)


def _no_rate(probe: Probe) -> Rate:
    return Rate(probe.label, probe.what, probe.dtype, probe.size, probe.threads, probe.work, ())


def _plan(
    device: str,
    threads: int,
    *,
    quick: bool,
    compiled: bool,
    designed: Sequence[Case] | None,
    networks: Sequence[tuple[str, int]] | None,
) -> tuple[Step, ...]:
    """List the steps: ceilings first, then cases with networks strewn among them, so that a run cut short has some of all.

    Networks that torch.compile makes come last: what is eager does not wait for them.
    """
    budget = BUDGETS["quick" if quick else "full"]
    chosen = cases(device, quick=quick) if designed is None else tuple(designed)
    usual = QUICK_NETWORKS if quick else tuple((name, batch) for batch in NETWORK_BATCHES[device] for name in NETWORKS)
    named = [Network(name, batch) for name, batch in (usual if networks is None else networks)]
    first = [
        Step(p.label, "ceilings", budget.probe, p, device, threads)
        for p in probes(device, threads=threads, caches=cache_sizes(device).values(), quick=quick)
    ]
    ops = [(i / len(chosen), Step(c.label, "ops", budget.case, c, device, threads)) for i, c in enumerate(chosen)]
    whole = [((i + 0.5) / len(named), Step(n.label, "networks", budget.network, n, device, threads)) for i, n in enumerate(named)]
    again = [replace(network, mode="compiled") for network in named if compiled]
    last = [Step(n.label, COMPILED, budget.network + COMPILING, n, device, threads) for n in again]
    return (*first, *(step for _, step in sorted([*ops, *whole], key=lambda place: place[0])), *last)


def _budget(plan: Sequence[Step], *, quick: bool) -> Budget:
    """Give a run the seconds of its depth, and what its compiled networks take on top of them."""
    budget = BUDGETS["quick" if quick else "full"]
    return replace(budget, total=budget.total + sum(step.seconds for step in plan if step.phase == COMPILED))


def cache_sizes(device: str) -> dict[str, float]:
    """Give the bytes of each cache that outlives an op, summed over the chip, from far to near."""
    if device == "cpu":
        return {name: figure.value for name, figure in inspect(Path("/")).caches.items()}
    return {"l2": float(torch.cuda.get_device_properties(torch.cuda.current_device()).L2_cache_size)}


# --- measuring it ----------------------------------------------------------------------------------------------------


def _carry_out(
    plan: Sequence[Step], known: Mapping[str, Result], journal: Journal, budget: Budget, clock: Clock, tell: Tell
) -> dict[str, Result]:
    """Take the steps that are not *known*, and in the time that is left once more those that something disturbed."""
    begun, found = clock(), dict(known)
    total = sum(step.seconds for step in plan)
    todo = [step for step in plan if step.label not in found]
    rest = sum(step.seconds for step in todo)

    def take(turn: Sequence[Step], rest: float) -> None:
        left = budget.total - (clock() - begun)
        tell(turn[0].phase, 1 - rest / total, min(rest, left))
        seconds = sum(step.seconds for step in turn) * min(left / rest, 1.0)
        for result in map(thinned, _carried_out(turn, seconds, clock, found.values())):
            journal.add(_record(result))
            label = _label(result)
            found[label] = _better(found.get(label), result)

    for turn in _turns(todo):
        if clock() - begun >= budget.total:
            break
        take(turn, rest)
        rest -= sum(step.seconds for step in turn)
    for turn in _turns(_disturbed(plan, found)):
        if clock() - begun + sum(step.seconds for step in turn) > budget.total:
            break
        take(turn, sum(step.seconds for step in turn))
    return found


def _disturbed(plan: Sequence[Step], found: Mapping[str, Result]) -> list[Step]:
    """List the steps whose times something else spoilt, the worst first."""
    steps = {step.label: step for step in plan}
    bad = [m for m in found.values() if isinstance(m, Measurement) and (m.crowded or m.noisy) and m.model in steps]
    return [steps[m.model] for m in sorted(bad, key=_badness, reverse=True)]


def _badness(measured: Measurement) -> tuple[bool, float]:
    return measured.crowded, measured.iqr / measured.median


def _better(old: Result | None, new: Result) -> Result:
    """Keep the less disturbed of two measurements, and the newer of two other results."""
    if isinstance(old, Measurement) and isinstance(new, Measurement):
        return min(new, old, key=_badness)
    return old if isinstance(old, Measurement) else new


def _label(result: Result) -> str:
    return result.model if isinstance(result, Measurement) else result.label


def thinned(result: Result) -> Result:
    """Keep some of the raw times, in the order taken: those at even steps of their ranking, so that median and quartiles stay."""
    if isinstance(result, Failure):
        return result
    if isinstance(result, Rate):
        return replace(result, seconds=_thin(result.seconds, TIMES_KEPT))
    ops = tuple(replace(op, seconds=_thin(op.seconds, OP_TIMES_KEPT)) for op in result.ops)
    return replace(result, seconds=_thin(result.seconds, TIMES_KEPT), ops=ops)


def _thin(times: Sequence[float], count: int) -> tuple[float, ...]:
    if len(times) <= count:
        return tuple(times)
    ranked = sorted(range(len(times)), key=times.__getitem__)
    return tuple(times[i] for i in sorted(ranked[int((k + 0.5) * len(times) / count)] for k in range(count)))


# --- the journal -----------------------------------------------------------------------------------------------------


def _record(result: Result) -> dict[str, Any]:
    if isinstance(result, Rate):
        facts = {name: getattr(result, name) for name in ("label", "what", "dtype", "size", "threads", "work")}
        return {"what": "rate", "rate": {**facts, "seconds": [_short(s) for s in result.seconds]}}
    if isinstance(result, Failure):
        return {"what": "failure", "label": result.label, "why": result.why}
    return {"what": "measurement", "body": json.loads(result.to_json())}


def _short(seconds: float) -> float:
    return float(f"{seconds:.5g}")


def _known(records: Iterable[Mapping[str, Any]]) -> dict[str, Result]:
    """Read what a journal holds; what cannot be read is measured again."""
    found: dict[str, Result] = {}
    for record in records:
        with suppress(RooflineError, KeyError, TypeError, ValueError):
            if record["what"] == "rate":
                rate = _rate(record["rate"])
                found[rate.label] = rate
            elif record["what"] == "measurement":
                measured = Measurement.from_json(json.dumps(record["body"]))
                found[measured.model] = _better(found.get(measured.model), measured)
            elif record["what"] == "failure":
                failed = Failure(str(record["label"]), str(record["why"]))
                found[failed.label] = _better(found.get(failed.label), failed)
    return found


def _rate(facts: Mapping[str, Any]) -> Rate:
    if facts["what"] not in WHATS:
        raise ValueError(f"unknown kind of ceiling {facts['what']!r}")
    times = tuple(map(float, facts["seconds"]))
    return Rate(
        str(facts["label"]), facts["what"], str(facts["dtype"]), int(facts["size"]), int(facts["threads"]), float(facts["work"]), times
    )


def _run(
    device: str, threads: int, quick: bool, found: Mapping[str, Any], plan: Sequence[Step], known: Mapping[str, Result], reused: int,
    journal: Journal,
) -> CalibrationRun:  # fmt: skip
    taken = [(step, known[step.label]) for step in plan if step.label in known]
    measured = [(step, result) for step, result in taken if isinstance(result, Measurement)]
    return CalibrationRun(
        device=device,
        threads=threads,
        quick=quick,
        date=datetime.fromtimestamp(journal.begun, UTC).date().isoformat(),
        environment=found,
        rates=tuple(result for _, result in taken if isinstance(result, Rate)),
        cases=tuple(result for step, result in measured if step.phase == "ops"),
        networks=tuple(result for step, result in measured if isinstance(step.item, Network)),
        designed=tuple(step.item for step in plan if isinstance(step.item, Case)),
        failures=tuple(result for _, result in taken if isinstance(result, Failure)),
        left_out=len(plan) - len(taken),
        reused=reused,
        path=journal.path,
    )
