"""What a search is after: capacity, by a proxy or a function of the user's, against latency, memory, cost or energy."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from roofline.costmodel.analysis import Analysis
from roofline.costmodel.device import Hardware
from roofline.errors import RooflineError
from roofline.studies.candidates import Candidate
from roofline.studies.limits import QUANTITIES, Rule
from roofline.units import significant

PROXIES = ("macs", "params")
"""Figures that stand for capacity. They are no accuracy: networks with as many MACs differ widely in what they learn."""

AGAINST = ("latency", "memory", "cost", "energy")
"""Figures that a search makes small."""

NOTHING = "none"

Accuracy = Callable[[Candidate], float]


@dataclass(frozen=True, slots=True)
class Goal:
    """One objective: the *column* that holds its values, whether *more* is better, how a reader calls it and how it is shown."""

    column: str
    title: str
    more: bool
    show: Callable[[float], str]

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """The word that Optuna has for it."""
        return "maximize" if self.more else "minimize"


def goals_of(objective: str | Accuracy, against: Sequence[str], devices: Sequence[Hardware]) -> tuple[Goal, ...]:
    """List the objectives, capacity first; latency, cost and energy are one for each device, memory is one for all."""
    if callable(objective):
        first = Goal(accuracy_name(objective), accuracy_name(objective), True, lambda value: significant(value, 4))
    elif objective in PROXIES:
        first = Goal(objective, {"macs": "MACs"}.get(objective, objective), True, _bare(objective))
    else:
        raise RooflineError(f"unknown objective {objective!r}; use {', '.join(PROXIES)} or path/to/file.py:function")
    wanted = [name for name in dict.fromkeys(against) if name != NOTHING]
    if bad := [name for name in wanted if name not in AGAINST]:
        raise RooflineError(f"unknown figure {bad[0]!r} to search against; use {', '.join(AGAINST)} or {NOTHING}")
    rest = [_against(name, device) for name in wanted for device in (devices[:1] if name == "memory" else devices)]
    return (first, *rest)


def column(name: str, device: str) -> str:
    """Name the column of a figure: that of one device, or of all for memory."""
    return {
        "latency": f"{device}_latency_seconds",
        "memory": "memory_bytes",
        "cost": f"{device}_usd_per_million_items",
        "energy": f"{device}_joules_per_item_at_most",
    }[name]


def _against(name: str, device: Hardware) -> Goal:
    missing = {"cost": device.price, "energy": device.power}
    if missing.get(name, device) is None:
        raise RooflineError(
            f"{device.id} has no {'price' if name == 'cost' else 'power limit'} in its profile; search against something else"
        )
    title = name if name == "memory" else f"{device.id} {name}"
    return Goal(column(name, device.id), title, False, _bare(name))


def _bare(name: str) -> Callable[[float], str]:
    """Write a figure without the words that its title holds."""
    if name == "cost":
        return lambda value: f"${significant(value)}"
    if name == "energy":
        return lambda value: f"{significant(value)} J"
    show = QUANTITIES[name].show
    return lambda value: show(value).removesuffix("MACs").removesuffix("parameters").strip()


def accuracy_name(function: Accuracy) -> str:
    """Name the user's function in tables."""
    return getattr(function, "__name__", "accuracy").strip("<>") or "accuracy"


def accuracy_of(function: Accuracy, candidate: Candidate) -> float:
    """Call the user's *function*; raise RooflineError unless it gives a finite number."""
    name = accuracy_name(function)
    try:
        found = function(candidate)
    except RooflineError:
        raise
    except (Exception, SystemExit) as error:
        lines = str(error).strip().splitlines() or [""]
        raise RooflineError(f"objective {name} failed on {candidate.label}: {type(error).__name__}: {lines[0][:200]}") from error
    try:
        value = float(found)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise RooflineError(f"objective {name} gave {found!r} for {candidate.label}; return a finite number, more for what is better")
    return value


def figures_of(analyses: Sequence[Analysis]) -> dict[str, Any]:
    """Tell of one network on several devices, with the unit in each key."""
    first = analyses[0]
    found: dict[str, Any] = {
        "macs": round(first.macs / first.batch), "params": first.params, "memory_bytes": max(a.peak_memory for a in analyses)
    }  # fmt: skip
    for a in analyses:
        low, high = a.interval
        name = f"{a.hardware.id}_latency"
        found |= {column("latency", a.hardware.id): a.latency, f"{name}_low_seconds": low, f"{name}_high_seconds": high}
        for quantity in ("cost", "energy"):
            span = QUANTITIES[quantity].read(a)
            found |= {} if span is None else {column(quantity, a.hardware.id): span.value}
        found[f"{a.hardware.id}_bound"] = a.bound
    return found


def broken_before(rules: Sequence[Rule], counts: tuple[int, int], bytes_per_weight: float) -> str | None:
    """Name the rule that a network of so many parameters and MACs must break, whatever its trace says; None where it may keep all.

    Its weights alone are a lower bound of its memory, at the fewest bytes that one of them takes.
    """
    known: Mapping[str, float] = {"params": counts[0], "macs": counts[1], "memory": counts[0] * bytes_per_weight}
    for rule in rules:
        name = rule.quantity.name
        if name in known and known[name] > rule.limit:
            least = "at least " if name == "memory" else ""
            return f"{name} {least}{rule.quantity.show(known[name])}, and the limit is {rule.quantity.show(rule.limit)}"
    return None
