"""Quantities of an analysis that can be limited, and limits on them, with how sure it is that they hold."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from roofline import units
from roofline.costmodel.analysis import Analysis
from roofline.errors import RooflineError
from roofline.studies.cost import joules_per_item, usd_interval, usd_per_million

Relation = Literal["<=", ">="]

NEARLY_TWICE = 1.95
"""Factor from which an excess is told in times, below it in percent."""


@dataclass(frozen=True, slots=True)
class Span:
    """A *value* with the ends of its 80 % interval; they are equal where the figure is counted, not predicted."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Quantity:
    """Something an analysis tells: how it is *read* off one, the *unit* that texts must end with, and whether *more* of it is better.

    *loose* quantities may also be given as a plain number. *about* says what is meant.
    """

    name: str
    unit: str
    about: str
    read: Callable[[Analysis], Span | None]
    show: Callable[[float], str]
    more: bool = False
    loose: bool = True

    def parse(self, text: str) -> float:
        """Read a limit such as `10ms` or `2 GB` into base units; raise RooflineError for anything else."""
        bare = re.sub(r"^\s*\$|\s*(/s|items/s|images/s)\s*$", "", text) if self.name in ("throughput", "cost") else text
        found = re.fullmatch(r"\s*[0-9.eE+-]+\s*(?:[KMGTkP]i?|[munµ])?(?P<unit>[A-Za-z/]*)\s*", bare)
        try:
            value = units.parse(bare)
        except ValueError:
            value = math.nan
        fits = found is not None and (found["unit"] == self.unit or (self.loose and found["unit"] == ""))
        if not (fits and 0 < value < math.inf):
            raise RooflineError(f"bad {self.name} {text!r}; write {self.about}")
        return value


def _exact(read: Callable[[Analysis], float | None]) -> Callable[[Analysis], Span | None]:
    def spanned(analysis: Analysis) -> Span | None:
        value = read(analysis)
        return None if value is None else Span(value, value, value)

    return spanned


def _latency(a: Analysis) -> Span:
    return Span(a.latency, *a.interval)


def _throughput(a: Analysis) -> Span:
    low, high = a.interval
    return Span(a.throughput, a.batch / high, a.batch / low)


def _cost(a: Analysis) -> Span | None:
    value, interval = usd_per_million(a), usd_interval(a)
    return None if value is None or interval is None else Span(value, *interval)


def _energy(a: Analysis) -> Span | None:
    value = joules_per_item(a)
    return None if value is None else Span(value, *(value * end / a.latency for end in a.interval))


def _rate(value: float) -> str:
    return f"{units.significant(value)} items/s"


def _count(value: float) -> str:
    return units.scaled(value, "")


def _scaled(unit: str) -> Callable[[float], str]:
    return lambda value: units.scaled(value, unit)


QUANTITIES = {
    q.name: q
    for q in (
        Quantity("latency", "s", "a time such as 10ms or 0.5s", _latency, units.seconds, loose=False),
        Quantity("throughput", "", "items a second such as 1000 or 2.5k", _throughput, _rate, more=True),
        Quantity("memory", "B", "bytes such as 2GB or 512MiB", _exact(lambda a: a.peak_memory), _scaled("B"), loose=False),
        Quantity("macs", "MACs", "multiply-accumulates an item such as 400M", _exact(lambda a: a.macs / a.batch), _scaled("MACs")),
        Quantity("params", "", "a number of parameters such as 5.3M", _exact(lambda a: float(a.params)), _count),
        Quantity("traffic", "B", "bytes that all kernels move such as 1GB", _exact(lambda a: a.bytes), _scaled("B"), loose=False),
        Quantity("cost", "", "dollars for a million items such as 0.50", _cost, lambda v: f"${units.significant(v)}/million"),
        Quantity("energy", "", "joules an item such as 0.5", _energy, lambda v: f"{units.significant(v)} J/item"),
    )
}  # fmt: skip
"""What can be limited, by name."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A limit on a quantity, in base units."""

    quantity: Quantity
    limit: float

    @classmethod
    def of(cls, name: str, text: str) -> "Rule":
        """Read the limit *text* on the quantity called *name*."""
        return cls(QUANTITIES[name], QUANTITIES[name].parse(text))

    @property
    def relation(self) -> Relation:
        """The side of the limit that is good."""
        return ">=" if self.quantity.more else "<="

    def __str__(self) -> str:
        return f"{self.quantity.name} {self.relation} {self.quantity.show(self.limit)}"

    def judge(self, analysis: Analysis) -> "Judgement":
        """Tell whether *analysis* keeps this limit."""
        return Judgement(self, analysis, self.quantity.read(analysis))


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether an analysis keeps a rule; *span* is None where the device lacks what it takes, such as a price."""

    rule: Rule
    analysis: Analysis
    span: Span | None

    @property
    def passed(self) -> bool:
        """Tell whether the predicted value is on the good side, or on the limit."""
        return self.span is not None and (
            self.span.value >= self.rule.limit if self.rule.quantity.more else self.span.value <= self.rule.limit
        )

    @property
    def uncertain(self) -> bool:
        """Tell whether the limit lies inside the 80 % interval, so that the device itself may say otherwise."""
        return self.span is not None and self.span.low < self.rule.limit < self.span.high

    @property
    def margin(self) -> float:
        """How far the value is on the good side of the limit, as a share of the limit; below 0 when it is violated."""
        if self.span is None:
            return -math.inf
        room = self.span.value / self.rule.limit - 1
        return room if self.rule.quantity.more else -room

    def why(self) -> str:
        """Say by how much the limit is kept or missed, and whether that is certain."""
        quantity = self.rule.quantity
        if self.span is None:
            return f"no {'price' if quantity.name == 'cost' else 'power limit'} in the profile of {self.analysis.hardware.id}"
        value, limit = self.span.value, self.rule.limit
        if self.passed:
            spare = f"{units.percent(self.margin)} to spare" if self.margin < 1 else f"{1 + self.margin:.1f} times the limit"
            return f"{spare}{self._straddles()}"
        factor = limit / value if quantity.more else value / limit
        by = f"{factor:.1f} times" if factor >= NEARLY_TWICE else units.percent(factor - 1)
        word = {"latency": "slow", "throughput": "slow", "cost": "expensive"}.get(quantity.name, "large")
        return f"{by} too {word}{self._straddles()}"

    def _straddles(self) -> str:
        if self.span is None or not self.uncertain:
            return ""
        return f"; uncertain, 80 % between {self.rule.quantity.show(self.span.low)} and {self.rule.quantity.show(self.span.high)}"


def judge(analysis: Analysis, rules: Sequence[Rule]) -> tuple[Judgement, ...]:
    """Judge *analysis* by each of *rules*."""
    return tuple(rule.judge(analysis) for rule in rules)


def read_limits(
    *, max_latency: str | None = None, min_throughput: str | None = None, max_memory: str | None = None, max_cost: str | None = None,
    max_energy: str | None = None, max_macs: str | None = None, max_params: str | None = None,
) -> tuple[Rule, ...]:  # fmt: skip
    """Read limits as texts, such as `max_latency="10ms"`; raise RooflineError for one that cannot be read."""
    given = {
        "latency": max_latency, "throughput": min_throughput, "memory": max_memory, "cost": max_cost, "energy": max_energy,
        "macs": max_macs, "params": max_params,
    }  # fmt: skip
    return tuple(Rule.of(name, text) for name, text in given.items() if text is not None)


def require(rules: Sequence[Rule]) -> None:
    """Raise RooflineError where there is no rule to check."""
    if not rules:
        raise RooflineError("nothing to check; give at least one limit, such as --max-latency 10ms")
