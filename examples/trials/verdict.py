"""Decide whether a claim holds, by one rule: estimates with intervals, held against a bar, case by case."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, get_args

from roofline import units

Outcome = Literal["yes", "open", "no"]
Verdict = Literal["holds", "holds under conditions", "does not hold", "cannot be told"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

OUTCOMES: tuple[Outcome, ...] = ("yes", "open", "no")
MOST = 0.5
"""Share of cases of which more must be no for a part not to hold, and of parts for a claim."""

PHRASES = 6
"""Conditions that a summary of cases names at most."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and the ends of its 80 % interval; what is counted has no width."""

    value: float
    low: float
    high: float

    @classmethod
    def exact(cls, value: float) -> "Estimate":
        """Take *value* as certain."""
        return cls(value, value, value)

    def __truediv__(self, other: "Estimate") -> "Estimate":
        """Divide two estimates whose errors are independent: the widths of both, as logarithms, add up in quadrature."""
        value = self.value / other.value
        down = math.hypot(math.log(self.value / self.low), math.log(other.high / other.value))
        up = math.hypot(math.log(self.high / self.value), math.log(other.value / other.low))
        return Estimate(value, value * math.exp(-down), value * math.exp(up))

    def __mul__(self, factor: float) -> "Estimate":
        """Multiply by what is certain."""
        return Estimate(self.value * factor, self.low * factor, self.high * factor)

    def __str__(self) -> str:
        if self.low == self.high:
            return short(self.value)
        return f"{short(self.value)} ({short(self.low)} to {short(self.high)})"


@dataclass(frozen=True, slots=True)
class Bar:
    """What an estimate must reach: no less than *least*, no more than *most*."""

    least: float = -math.inf
    most: float = math.inf

    def judge(self, estimate: Estimate) -> Outcome:
        """Say `yes` where the whole interval is within the bar, `no` where all of it is outside on one side, `open` where it straddles."""
        if self.least <= estimate.low and estimate.high <= self.most:
            return "yes"
        return "no" if estimate.high < self.least or estimate.low > self.most else "open"

    def __str__(self) -> str:
        if math.isinf(self.most):
            return f"at least {short(self.least)}"
        return f"at most {short(self.most)}" if math.isinf(self.least) else f"{short(self.least)} to {short(self.most)}"


@dataclass(frozen=True, slots=True)
class Case:
    """One trial of a claim: *at* says under which conditions, such as device and batch."""

    at: Mapping[str, str]
    estimate: Estimate

    @property
    def name(self) -> str:
        """The conditions in a row."""
        return ", ".join(f"{key} {value}" if key == "batch" else value for key, value in self.at.items())


@dataclass(frozen=True, slots=True)
class Part:
    """One half-sentence of a claim, what *measure* is held against the *bar*, its cases, and the *table* that lists them."""

    statement: str
    measure: str
    bar: Bar
    cases: tuple[Case, ...]
    table: str

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """What comes out of each case."""
        return tuple(self.bar.judge(case.estimate) for case in self.cases)

    @property
    def verdict(self) -> Verdict:
        """Decide over all cases."""
        return over_cases(self.outcomes, conditions=bool(self.settled("yes")))

    def count(self, outcome: Outcome) -> int:
        """Count the cases that come out so."""
        return self.outcomes.count(outcome)

    def where(self) -> Iterator[tuple[str, str, dict[Outcome, int]]]:
        """Count outcomes under each condition that differs between cases: its name, its value, and cases by outcome."""
        for key in self.cases[0].at:
            values = list(dict.fromkeys(case.at[key] for case in self.cases))
            if len(values) < 2:
                continue
            for value in values:
                found = [o for case, o in zip(self.cases, self.outcomes, strict=True) if case.at[key] == value]
                yield key, value, {o: found.count(o) for o in OUTCOMES}

    def settled(self, outcome: Outcome) -> str:
        """Name the conditions, one to three at a time, under which every case comes out so: those of most cases first.

        Empty where there is none: the cases that come out so, if any, share no condition with which all others do too.
        """
        chosen = frozenset(i for i, found in enumerate(self.outcomes) if found == outcome)
        if chosen and len(chosen) == len(self.cases):
            return "all"
        groups = self._groups()
        least = 2 if any(len(pairs) > 1 for pairs in groups) else 1
        sure = {pairs: members for pairs, members in groups.items() if len(members) >= least and members <= chosen}
        named: list[tuple[tuple[str, str], ...]] = []
        left = set(chosen)
        while sure and len(named) < PHRASES:
            pairs = max(sure, key=lambda pairs: (len(left & sure[pairs]), -len(pairs)))
            if not left & sure[pairs]:
                break
            left -= sure.pop(pairs)
            named.append(pairs)
        return _phrases(named)

    def _groups(self) -> dict[tuple[tuple[str, str], ...], frozenset[int]]:
        """Group cases by each condition that differs between them, and by each two and three of them."""
        keys = [key for key in self.cases[0].at if len({case.at[key] for case in self.cases}) > 1]
        found: dict[tuple[tuple[str, str], ...], set[int]] = {}
        for chosen in (subset for size in (1, 2, 3) for subset in combinations(keys, size)):
            for i, case in enumerate(self.cases):
                found.setdefault(tuple((key, case.at[key]) for key in chosen), set()).add(i)
        return {pairs: frozenset(members) for pairs, members in found.items()}

    def that(self, outcome: Outcome) -> tuple[Case, ...]:
        """The cases that come out so."""
        return tuple(case for case, o in zip(self.cases, self.outcomes, strict=True) if o == outcome)


@dataclass(frozen=True, slots=True)
class Table:
    """Figures that a verdict rests on, as cells of text; the first column names the row."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim as it was made, with its *source*, what it is taken to say (*parts*), and what the tool *says* of it."""

    title: str
    statement: str
    source: str
    parts: tuple[Part, ...]
    tables: tuple[Table, ...]
    says: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """Decide over all parts."""
        return over_parts([part.verdict for part in self.parts])

    def _repr_html_(self) -> str:
        from trials.page import html

        return html(self)


def over_cases(outcomes: Iterable[Outcome], *, conditions: bool) -> Verdict:
    """Say `holds` where all cases are yes, `holds under conditions` where there are such; else `does not hold` where MOST are no."""
    found = list(outcomes)
    if not found:
        raise ValueError("no case to decide by")
    if set(found) == {"yes"}:
        return "holds"
    if conditions:
        return "holds under conditions"
    return "does not hold" if found.count("no") > MOST * len(found) else "cannot be told"


def _phrases(named: Sequence[tuple[tuple[str, str], ...]]) -> str:
    """Write conditions as `batch 64; mode eager with device t4, v100`: what most pairs share stands first."""
    often = Counter(condition for pairs in named for condition in pairs)
    told: dict[tuple[tuple[tuple[str, str], ...], str], list[str]] = {}
    for pairs in named:
        *first, (key, value) = sorted(pairs, key=lambda condition: -often[condition])
        told.setdefault((tuple(first), key), []).append(value)
    return "; ".join(
        " with ".join(filter(None, (" and ".join(f"{k} {v}" for k, v in first), f"{key} {', '.join(values)}")))
        for (first, key), values in told.items()
    )


def over_parts(verdicts: Iterable[Verdict]) -> Verdict:
    """Say what all parts say; where they differ, `does not hold` if MOST do not, else `holds under conditions` if any part does."""
    found = list(verdicts)
    if not found:
        raise ValueError("no part to decide by")
    if len(set(found)) == 1:
        return found[0]
    if found.count("does not hold") > MOST * len(found):
        return "does not hold"
    return "holds under conditions" if {"holds", "holds under conditions"} & set(found) else "cannot be told"


def short(value: float) -> str:
    """Write a figure to two digits, whole ones to three."""
    if value == 0 or math.isinf(value) or abs(value) >= 9.95:
        return units.scaled(value, "") if abs(value) >= 1e4 else f"{value:.0f}"
    return units.significant(value, 2)
