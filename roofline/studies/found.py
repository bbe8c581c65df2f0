"""What a search found: its trials, the front of those that nothing beats, the best, and how fast it went."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from roofline import units
from roofline.costmodel.device import Hardware
from roofline.errors import RooflineError
from roofline.files import save
from roofline.graph import Graph
from roofline.studies.candidates import Candidate, Source
from roofline.studies.goals import PROXIES, Goal
from roofline.studies.limits import Rule
from roofline.studies.rows import csv_text, fitted
from roofline.studies.setting import Setting

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial
    from pandas import DataFrame

SCHEMA = 1
"""Version of the JSON form."""

LISTED = 20
"""Networks of the front that the text lists."""

ATTRIBUTE = "roofline"
"""User attribute of a trial that holds what was found of it."""

State = Literal["complete", "pruned", "failed"]


@dataclass(frozen=True, slots=True)
class Trial:
    """One candidate: what was chosen, its *figures* with their units in the keys, its *values* for each objective.

    A *pruned* trial was known to break a limit before it was priced in full, a *failed* one could not be built: *reason* says why.
    *broken* names the limits that a complete one breaks.
    """

    number: int
    state: State
    parameters: Mapping[str, Any]
    label: str
    figures: Mapping[str, Any]
    values: tuple[float, ...]
    broken: tuple[str, ...]
    reason: str

    @property
    def feasible(self) -> bool:
        """Tell whether it was priced and keeps every limit."""
        return self.state == "complete" and not self.broken


def trial_of(trial: "FrozenTrial") -> Trial:
    """Read a finished trial of a study."""
    states: dict[str, State] = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
    held = trial.user_attrs.get(ATTRIBUTE, {"label": "", "figures": {}, "broken": [], "reason": "stopped from outside"})
    state = states[trial.state.name]
    values = tuple(trial.values) if state == "complete" and trial.values is not None else ()
    return Trial(trial.number, state, dict(trial.params), held["label"], held["figures"], values, tuple(held["broken"]), held["reason"])


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a run went: its seconds and candidates, parts *traced* and *reused*, and what one network takes when traced whole."""

    seconds: float
    candidates: int
    traced: int = 0
    reused: int = 0
    whole_seconds: float | None = None

    @property
    def rate(self) -> float:
        """Candidates a second."""
        return self.candidates / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class Search:
    """Every trial of a search with what was asked; `front` and `best` are the answers.

    The front holds what keeps all limits and is beaten in all objectives by nothing that does; *undominated* are its numbers.
    """

    source: Source
    hardware: tuple[Hardware, ...]
    setting: Setting
    goals: tuple[Goal, ...]
    rules: tuple[Rule, ...]
    sampler: str
    seed: int
    trials: tuple[Trial, ...]
    undominated: tuple[int, ...]
    pace: Pace

    @cached_property
    def front(self) -> tuple[Trial, ...]:
        """Networks that no other feasible one beats, each once, those of most capacity first."""
        numbers = set(self.undominated)
        kept: dict[str, Trial] = {}
        for trial in self.trials:
            if trial.number in numbers and trial.feasible:
                kept.setdefault(json.dumps(trial.parameters, sort_keys=True), trial)
        return tuple(sorted(kept.values(), key=self._rank))

    @property
    def best(self) -> Trial | None:
        """The feasible network of most capacity, and of those the one that is smallest in the other objectives; None without any."""
        return self.front[0] if self.front else None

    def _rank(self, trial: Trial) -> tuple[float, ...]:
        return tuple(-value if goal.more else value for goal, value in zip(self.goals, trial.values, strict=True))

    def candidate(self, trial: Trial) -> Candidate:
        """Propose again what *trial* proposed: its architecture, its graph, the module itself."""
        from optuna.trial import FixedTrial

        fixed: Any = FixedTrial(dict(trial.parameters), trial.number)
        return self.source.propose(fixed)

    def graph(self, trial: Trial) -> Graph:
        """Return the graph of *trial* at the batch size of the search, to analyze it in other ways."""
        return self.candidate(trial).graph(self.setting.batches[0])

    @property
    def counts(self) -> dict[str, int]:
        """Count trials by what became of them."""
        states = [t.state for t in self.trials]
        feasible = sum(t.feasible for t in self.trials)
        return {
            "feasible": feasible, "over a limit": states.count("complete") - feasible, "pruned": states.count("pruned"),
            "failed": states.count("failed"),
        }  # fmt: skip

    def rows(self) -> list[dict[str, Any]]:
        """Return a plain dictionary per trial, with the unit of each figure in its key."""
        front = {t.number for t in self.front}
        return [
            {
                "trial": t.number, "state": t.state, "feasible": t.feasible, "front": t.number in front, **t.figures,
                "architecture": t.label, "reason": t.reason or "; ".join(t.broken), **t.parameters,
            }
            for t in self.trials
        ]  # fmt: skip

    def to_pandas(self) -> "DataFrame":
        """Return a pandas DataFrame with a row per trial."""
        try:
            import pandas as pd
        except ImportError as error:
            raise RooflineError("to_pandas needs pandas; install it with: pip install 'roofline[pandas]'") from error
        return pd.DataFrame(self.rows())

    def to_csv(self, path: str | Path | None = None) -> str:
        """Write one line per trial."""
        return save(csv_text(self.rows()), path)

    def to_json(self, path: str | Path | None = None) -> str:
        """Write what was asked and every trial, with a schema version."""
        s, p = self.setting, self.pace
        body = {
            "schema": SCHEMA,
            "space": self.source.name,
            "size": self.source.size,
            "hardware": [device.id for device in self.hardware],
            "batch": s.batches[0], "precision": s.precision, "mode": s.mode, "layout": s.layout, "calibrated": s.calibrated,
            "objectives": [{"column": goal.column, "direction": goal.direction} for goal in self.goals],
            "limits": [{"quantity": r.quantity.name, "relation": r.relation, "limit": r.limit} for r in self.rules],
            "sampler": self.sampler, "seed": self.seed,
            "pace": {
                "seconds": p.seconds, "candidates": p.candidates, "blocks_traced": p.traced, "blocks_reused": p.reused,
                "seconds_of_one_traced_whole": p.whole_seconds,
            },
            "best": self.best.number if self.best else None,
            "front": [t.number for t in self.front],
            "trials": self.rows(),
        }  # fmt: skip
        return save(json.dumps(body, indent=1, allow_nan=False) + "\n", path)

    def write_parquet(self, file: BinaryIO) -> None:
        """Write one row per trial as Parquet; raise RooflineError where pyarrow is absent."""
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise RooflineError("Parquet needs pyarrow; install it with: pip install 'roofline[search]'") from error
        rows = self.rows()
        names = list(dict.fromkeys(name for row in rows for name in row))
        pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in names}), file, compression="zstd")

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self, width: int = 80) -> Iterator[str]:
        """Tell what was asked, how it went, the front and the best."""
        yield from _wrapped(self._asked(), width)
        yield from _wrapped(self.aim(), width)
        yield from _wrapped(self._told(), width)
        yield from _wrapped(self.speed(), width)
        yield ""
        if self.best is None:
            yield from _wrapped(f"no network keeps every limit; {self._nearest()}", width)
            return
        shown = self.front[:LISTED]
        yield "front: " + (f"{len(shown)} networks" if len(shown) == len(self.front) else f"{len(shown)} of {len(self.front)} networks")
        header = ("trial", *(goal.title for goal in self.goals), *self._more(), "bound")
        yield from fitted(header, [self._cells(t) for t in shown], spare=("bound", *self._more()), words=("bound",), width=width)
        yield ""
        yield from _wrapped(f"best: trial {self.best.number}, {self.best.label}", width)
        if self.goals[0].column in PROXIES:
            yield from _wrapped(f"{self.goals[0].title} stand for capacity, and are no accuracy: train what is found", width)

    def aim(self) -> str:
        """Say what is made large, what small, and which limits hold."""
        goals = [f"{'most' if goal.more else 'least'} {goal.title}" for goal in self.goals]
        limits = f" with {', '.join(map(str, self.rules))}" if self.rules else ""
        return f"for {', '.join(goals)}{limits}"

    def speed(self) -> str:
        """Say how many candidates a second were judged, and how many it would be were each traced whole."""
        p = self.pace
        if not p.candidates:
            return "nothing new was asked for: the study has all trials already"
        text = f"{p.candidates} candidates in {units.seconds(p.seconds)}, {units.significant(p.rate, 2)} a second"
        if p.traced:
            text += f"; {p.traced:,} kinds of block traced, {p.reused:,} blocks made of them"
        if p.whole_seconds:
            text += f"; the best traced and priced whole takes {units.seconds(p.whole_seconds, digits=2)}, and gives the same"
        return text

    def _asked(self) -> str:
        s, size = self.setting, self.source.size
        many = "" if size is None else f" ({units.scaled(float(size), '')} networks)" if size >= 1000 else f" ({size} networks)"
        on = ", ".join(device.id for device in self.hardware)
        return f"{self.source.name}{many} on {on}, batch {s.batches[0]}, {s.precision}, {s.mode}, {s.layout}"

    def _told(self) -> str:
        counted = ", ".join(f"{n} {what}" for what, n in self.counts.items() if n or what == "feasible")
        return f"{len(self.trials)} trials of {self.sampler}, seed {self.seed}: {counted}"

    def _nearest(self) -> str:
        reasons = [t.reason or t.broken[0] for t in self.trials if t.reason or t.broken]
        return f"the last trial says: {reasons[-1]}" if reasons else "raise the number of trials"

    def _more(self) -> tuple[str, ...]:
        return tuple(name for name in ("MACs", "params") if name not in {goal.title for goal in self.goals})

    def _cells(self, t: Trial) -> tuple[str, ...]:
        figures = {"MACs": units.scaled(t.figures["macs"], ""), "params": units.scaled(t.figures["params"], "")}
        bounds = dict.fromkeys(t.figures[f"{device.id}_bound"] for device in self.hardware)
        values = (goal.show(value) for goal, value in zip(self.goals, t.values, strict=True))
        return (str(t.number), *values, *(figures[name] for name in self._more()), ", ".join(bounds))


def _wrapped(text: str, width: int) -> list[str]:
    import textwrap

    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return textwrap.wrap(printable, width, subsequent_indent="  ")
