"""Search a space of networks on predicted latency, by Optuna: propose, price, judge, remember.

A study in a storage can be cut off at any moment and goes on where it was: the random numbers of a trial depend on the seed and
on how many trials are finished, so that a search in two parts ends as one in a single run does.
"""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.costmodel.analysis import Analysis
from roofline.costmodel.analyze import analyze_grid
from roofline.costmodel.device import Hardware
from roofline.errors import ModelError, RooflineError, UnknownNameError
from roofline.graph import Graph
from roofline.studies.candidates import Candidate, Functions, Source, source_of
from roofline.studies.found import ATTRIBUTE, Pace, Search, trial_of
from roofline.studies.goals import Accuracy, Goal, accuracy_of, broken_before, figures_of, goals_of
from roofline.studies.limits import QUANTITIES, Rule, judge
from roofline.studies.setting import Setting, Tell, devices, quiet
from roofline.studies.storage import opened, optuna_or_raise
from roofline.tracing.mbconv import trace_whole
from roofline.units import BITS

if TYPE_CHECKING:
    from optuna import Study
    from optuna.samplers import BaseSampler
    from optuna.trial import BaseTrial

SAMPLERS = ("tpe", "nsga2", "random")
MOST_TRIALS = 1_000_000


def search(
    space: Any,
    hardware: str | Path | Hardware | Sequence[str | Path | Hardware],
    *,
    trials: int,
    objective: str | Accuracy = "macs",
    against: Sequence[str] = ("latency",),
    max_latency: str | float | None = None,
    min_throughput: str | float | None = None,
    max_memory: str | float | None = None,
    max_cost: str | float | None = None,
    max_energy: str | float | None = None,
    max_macs: str | float | None = None,
    max_params: str | float | None = None,
    batch: int = 1,
    precision: str = "fp32",
    mode: str = "eager",
    layout: str = "nchw",
    image_size: int | None = None,
    inputs: Sequence[str] = (),
    sampler: str | None = None,
    seed: int = 0,
    storage: str | None = None,
    study: str | None = None,
    calibrated: bool = True,
    cache: bool = True,
    progress: Tell = quiet,
) -> Search:
    """Search *space* for networks of much capacity that run fast, and return all trials, their front and the best.

    *space* is a YAML file, a mapping that holds the same, `path/net.py:function` or a function that takes an Optuna trial and
    returns a module. *objective* is `macs` or `params` (proxies of capacity, no accuracy) or a function that takes a Candidate
    and returns more for what is better; *against* are figures to make small. Limits are texts such as "5ms" or numbers in base
    units. *trials* counts all that the study has in the end. Without *cache* every network is traced whole.
    """
    asked = (hardware,) if isinstance(hardware, str | Path | Hardware) else tuple(hardware)
    found = devices([str(h) if isinstance(h, Path) else h for h in asked])
    setting = Setting((batch,), precision, mode, layout, calibrated=calibrated, cache=cache)
    setting.check(found)
    rules = _rules(
        latency=max_latency,
        throughput=min_throughput,
        memory=max_memory,
        cost=max_cost,
        energy=max_energy,
        macs=max_macs,
        params=max_params,
    )
    _check(rules, found, trials, seed)
    goals = goals_of(objective, against, found)
    chosen = sampler or ("nsga2" if len(goals) > 1 else "tpe")
    if chosen not in SAMPLERS:
        raise UnknownNameError(f"unknown sampler {chosen!r}; use one of {', '.join(SAMPLERS)}")
    optuna_or_raise()
    source = source_of(space, image_size=image_size, inputs=inputs, cache=cache)
    evaluate = _Evaluation(source, found, setting, goals, rules, objective if callable(objective) else None)
    with _unlogged(), opened(storage, study or Path(source.name).stem, goals, _described(evaluate)) as opened_study:
        return _run(opened_study, evaluate, trials, chosen, seed, progress)


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """How a candidate is judged; *known* holds what was found of networks met before."""

    source: Source
    hardware: tuple[Hardware, ...]
    setting: Setting
    goals: tuple[Goal, ...]
    rules: tuple[Rule, ...]
    accuracy: Accuracy | None
    known: dict[Any, "_Outcome"] = field(default_factory=dict[Any, "_Outcome"])

    def price(self, graph: Graph) -> tuple[Analysis, ...]:
        """Analyze *graph* on every device."""
        s = self.setting
        return analyze_grid(
            graph, self.hardware, s.batches, precisions=(s.precision,), mode=s.mode, layout=s.layout, calibrated=s.calibrated
        )

    def __call__(self, trial: "BaseTrial") -> "_Outcome":
        """Let *trial* choose a network and judge it."""
        candidate = self.source.propose(trial)
        if candidate.architecture is None:
            return self._judged(candidate)
        if candidate.architecture not in self.known:
            self.known[candidate.architecture] = self._judged(candidate)
        return self.known[candidate.architecture]

    def _judged(self, candidate: Candidate) -> "_Outcome":
        if candidate.counts is not None:
            params, macs = candidate.counts
            precision = "fp32" if self.setting.precision == "amp" else self.setting.precision
            if reason := broken_before(self.rules, candidate.counts, BITS[precision] / 8):
                return _Outcome(candidate.label, {"macs": macs, "params": params}, reason=reason)
        analyses = self.price(candidate.graph(self.setting.batches[0]))
        figures = figures_of(analyses)
        limits: dict[str, float] = {}
        broken: list[str] = []
        for a in analyses:
            for verdict in judge(a, self.rules):
                name = f"{verdict.rule.quantity.name} on {a.hardware.id}"
                limits[name] = -verdict.margin
                if not verdict.passed:
                    limits[name] = max(limits[name], np.finfo(float).tiny)  # on the wrong side by less than a float can tell
                    broken.append(f"{name}: {verdict.why()}")
        if self.accuracy is not None:
            if broken:
                return _Outcome(candidate.label, figures, reason=f"{self.goals[0].title} not asked for: {broken[0]}")
            figures[self.goals[0].column] = accuracy_of(self.accuracy, candidate)
        return _Outcome(candidate.label, figures, tuple(figures[goal.column] for goal in self.goals), limits, tuple(broken))


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of a candidate: its *values*, or the *reason* why it has none; *limits* are above 0 where a rule is broken."""

    label: str
    figures: dict[str, Any]
    values: tuple[float, ...] | None = None
    limits: dict[str, float] = field(default_factory=dict[str, float])
    broken: tuple[str, ...] = ()
    reason: str = ""


def _run(study: "Study", evaluate: _Evaluation, trials: int, sampler: str, seed: int, progress: Tell) -> Search:
    evaluate.source.prepare()
    begun, earlier = time.perf_counter(), _finished(study)
    done = earlier
    while done < trials:
        progress(f"trial {done + 1} of {trials}", done / trials)
        study.sampler = _sampler(sampler, seed, done)
        _one(study, evaluate)
        done += 1
    seconds = time.perf_counter() - begun
    found = tuple(trial_of(t) for t in study.get_trials(deepcopy=False) if t.state.is_finished())
    traced, reused = evaluate.source.effort
    result = Search(
        evaluate.source, evaluate.hardware, evaluate.setting, evaluate.goals, evaluate.rules, sampler, seed, found,
        tuple(t.number for t in study.best_trials), Pace(seconds, done - earlier, traced, reused),
    )  # fmt: skip
    if found and all(t.state == "failed" for t in found):
        raise ModelError(f"none of {len(found)} networks could be built; the first: {found[0].reason}")
    return replace(result, pace=replace(result.pace, whole_seconds=_checked(result, evaluate)))


def _one(study: "Study", evaluate: _Evaluation) -> None:
    """Run one trial and tell the study; a candidate that cannot be built fails, one that must break a limit is pruned."""
    from optuna import TrialPruned
    from optuna.trial import TrialState

    trial = study.ask()
    try:
        outcome = evaluate(trial)
        state = TrialState.COMPLETE if outcome.values is not None else TrialState.PRUNED
    except ModelError as error:
        pruned = isinstance(error.__cause__, TrialPruned)
        outcome = _Outcome("", {}, reason=str(error.__cause__) or "pruned by its own code" if pruned else str(error))
        state = TrialState.PRUNED if pruned else TrialState.FAIL
    for name, value in outcome.limits.items():
        trial.set_constraint(name, value)
    trial.set_user_attr(
        ATTRIBUTE, {"label": outcome.label, "figures": outcome.figures, "broken": list(outcome.broken), "reason": outcome.reason}
    )
    study.tell(trial, outcome.values, state)


def _checked(result: Search, evaluate: _Evaluation) -> float | None:
    """Trace and price the best architecture whole: raise RooflineError unless its blocks gave the same; return the seconds it took."""
    best = result.best
    if best is None or isinstance(evaluate.source, Functions) or not evaluate.setting.cache or not result.pace.candidates:
        return None
    candidate = result.candidate(best)
    if candidate.architecture is None:
        return None
    begun = time.perf_counter()
    figures = figures_of(evaluate.price(trace_whole(candidate.architecture).with_batch(evaluate.setting.batches[0])))
    seconds = time.perf_counter() - begun
    if any(best.figures[name] != value for name, value in figures.items()):
        raise RooflineError(f"trial {best.number} traced whole differs from its blocks; search without the cache of blocks, and tell us")
    return seconds


def _sampler(name: str, seed: int, done: int) -> "BaseSampler":
    """Make the sampler of the next trial, whose random numbers depend on *seed* and on how many trials are done."""
    from optuna import samplers

    own = int(np.random.SeedSequence([seed, done]).generate_state(1)[0])
    makers: dict[str, Callable[..., BaseSampler]] = {
        "tpe": samplers.TPESampler, "nsga2": samplers.NSGAIISampler, "random": samplers.RandomSampler
    }  # fmt: skip
    return makers[name](seed=own)


def _finished(study: "Study") -> int:
    return sum(t.state.is_finished() for t in study.get_trials(deepcopy=False))


def _rules(**given: str | float | None) -> tuple[Rule, ...]:
    return tuple(
        Rule.of(name, limit) if isinstance(limit, str) else _rule(name, limit) for name, limit in given.items() if limit is not None
    )


def _rule(name: str, limit: float) -> Rule:
    if isinstance(limit, bool) or not 0 < limit < np.inf:
        raise RooflineError(f"bad limit of {limit!r} on {name}; give a number above 0, or a text such as {QUANTITIES[name].about}")
    return Rule(QUANTITIES[name], float(limit))


def _check(rules: Sequence[Rule], hardware: Sequence[Hardware], trials: int, seed: int) -> None:
    if isinstance(trials, bool) or not 1 <= trials <= MOST_TRIALS:
        raise RooflineError(f"bad number of trials {trials}; use 1 to {MOST_TRIALS}")
    if not 0 <= seed < 2**32:
        raise RooflineError(f"bad seed {seed}; use 0 to {2**32 - 1}")
    for rule in rules:
        for device in hardware:
            if {"cost": device.price, "energy": device.power}.get(rule.quantity.name, device) is None:
                what = "price" if rule.quantity.name == "cost" else "power limit"
                raise RooflineError(f"{device.id} has no {what} in its profile, so {rule.quantity.name} cannot be limited there")


def _described(evaluate: _Evaluation) -> dict[str, Any]:
    """Tell this search from others: two with the same description may share a study."""
    s = evaluate.setting
    return {
        "space": evaluate.source.description, "hardware": [device.id for device in evaluate.hardware], "batch": s.batches[0],
        "precision": s.precision, "mode": s.mode, "layout": s.layout, "calibrated": s.calibrated,
        "objectives": [goal.column for goal in evaluate.goals], "limits": [f"{r.quantity.name} {r.limit!r}" for r in evaluate.rules],
    }  # fmt: skip


@contextmanager
def _unlogged() -> Generator[None]:
    """Keep Optuna from telling of every trial."""
    from optuna import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)
