"""Check limits and changes, as a gate in continuous integration: one line a rule, with the margin and whether it is certain."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any, Literal

from roofline import units
from roofline.costmodel.analysis import Analysis
from roofline.errors import RooflineError
from roofline.files import save
from roofline.measurement.table import shown
from roofline.studies.limits import QUANTITIES, Judgement, Quantity, Rule, Span, judge

SCHEMA = 1
"""Version of the JSON form."""

Comparison = Literal[">", "<", ">=", "<="]

_CHANGE = re.compile(r"\s*(?P<name>[a-z_]+)\s*(?P<sign>>=|<=|>|<)\s*(?P<bound>\S.*?)\s*")
_RELATIVE = re.compile(r"(?P<side>[+-])\s*(?P<percent>[0-9]+(?:\.[0-9]+)?)\s*%")


@dataclass(frozen=True, slots=True)
class Line:
    """One rule on one analysis: what was asked, what is the case, by how much, and whether that is certain.

    *predicted* and *limit* are the figures of the texts *value* and *rule*, in base units.
    """

    passed: bool
    uncertain: bool
    where: str
    quantity: str
    value: str
    rule: str
    why: str
    margin: float | None
    predicted: float | None
    limit: float


@dataclass(frozen=True, slots=True)
class Check:
    """The outcome of every rule; it passes when all do."""

    title: str
    results: tuple[Line, ...]

    @property
    def passed(self) -> bool:
        """Tell whether every rule is kept."""
        return all(line.passed for line in self.results)

    def lines(self, width: int = 80) -> Iterator[str]:
        """Write one line per rule under the analysis that it is about, and a last one that sums up."""
        where = ""
        for line in self.results:
            if line.where != where:
                where = line.where
                yield from wrap(shown(where), width, subsequent_indent="  ")
            found = f"  {'pass' if line.passed else 'FAIL'}  {line.quantity} {line.value}, {line.rule}: {line.why}"
            yield from wrap(found, width, subsequent_indent="        ")
        failed = sum(not line.passed for line in self.results)
        yield f"{failed} of {len(self.results)} rules violated" if failed else f"all {len(self.results)} rules kept"

    def to_markdown(self, path: str | Path | None = None) -> str:
        """Return a table for a pull request, and write it to *path* if given."""
        failed = sum(not line.passed for line in self.results)
        verdict = f"**{failed} of {len(self.results)} rules violated**" if failed else f"All {len(self.results)} rules kept"
        header = ("", "where", "quantity", "predicted", "rule", "margin")
        rows = [(_mark(line), line.where, line.quantity, line.value, line.rule, line.why) for line in self.results]
        lines = [header, ("---",) * len(header), *(tuple(map(_escape, row)) for row in rows)]
        body = "".join(f"| {' | '.join(line)} |\n" for line in lines)
        note = "\nPredicted by `roofline`, without the device. *Uncertain*: the limit is inside the 80 % interval of the prediction.\n"
        return save(f"### {_escape(self.title)}\n\n{verdict}\n\n{body}{note}", path)

    def to_json(self, path: str | Path | None = None) -> str:
        """Return every rule as JSON with a schema version, and write it to *path* if given."""
        body: dict[str, Any] = {
            "schema": SCHEMA, "title": self.title, "passed": self.passed,
            "rules": [{name: getattr(line, name) for name in Line.__slots__} for line in self.results],
        }  # fmt: skip
        return save(json.dumps(body, indent=1, allow_nan=False) + "\n", path)


def check(analyses: Sequence[Analysis], rules: Sequence[Rule], *, certain: bool = False) -> Check:
    """Check every one of *analyses* by every one of *rules*; each must also fit in the memory of its device.

    With *certain*, a limit that lies inside the 80 % interval of a prediction is violated too.
    """
    title = f"{analyses[0].model}: {', '.join(map(str, rules))}"
    return Check(title, tuple(line for a in analyses for line in (*(_limit_line(j, certain) for j in judge(a, rules)), *_fit(a))))


def _limit_line(found: Judgement, certain: bool) -> Line:
    show, limit = found.rule.quantity.show, found.rule
    value = "unknown" if found.span is None else show(found.span.value)
    margin = None if found.span is None else found.margin
    rule = f"{'at least' if limit.quantity.more else 'at most'} {show(limit.limit)}"
    passed = found.passed and not (certain and found.uncertain)
    predicted = None if found.span is None else found.span.value
    return Line(
        passed, found.uncertain, _where(found.analysis), limit.quantity.name, value, rule, found.why(), margin, predicted, limit.limit
    )


def _fit(analysis: Analysis) -> Iterator[Line]:
    """Say that a network does not fit; nothing where it does."""
    room, used = analysis.hardware.memory_size, analysis.peak_memory
    if used > room:
        why = f"does not fit, {used / room:.1f} times too large"
        rule = f"at most {units.scaled(room, 'B')} of device memory"
        yield Line(False, False, _where(analysis), "memory", units.scaled(used, "B"), rule, why, 1 - used / room, used, room)


COMPARED = ("latency", "throughput", "memory", "macs", "params", "traffic")
"""Quantities of which changes can be checked: those that a saved analysis holds too."""


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison: *where* it runs, what it is called, and its figure of each quantity of COMPARED."""

    name: str
    where: str
    spans: Mapping[str, Span]

    @classmethod
    def of(cls, analysis: Analysis) -> "Side":
        """Take the figures of *analysis*."""
        found = {name: QUANTITIES[name].read(analysis) for name in COMPARED}
        return cls(analysis.model, _where(analysis), {name: span for name, span in found.items() if span is not None})


@dataclass(frozen=True, slots=True)
class Change:
    """A rule on something new beside something old, by which it fails: `latency>+5%`, `memory>2GB`.

    With *relative*, *bound* is the allowed share of change, above or below 0; else it is a figure in base units.
    """

    quantity: Quantity
    sign: Comparison
    bound: float
    relative: bool
    text: str

    @classmethod
    def parse(cls, text: str) -> "Change":
        """Read `QUANTITY>+5%`, `QUANTITY<-10%` or `QUANTITY>10ms`; raise RooflineError for anything else."""
        found = _CHANGE.fullmatch(text)
        rule = "write a quantity, > or <, and a change or a figure, such as 'latency>+5%' or 'memory>2GB'"
        if found is None:
            raise RooflineError(f"bad rule {text!r}; {rule}")
        if found["name"] not in COMPARED:
            raise RooflineError(f"bad rule {text!r}: unknown quantity {found['name']!r}; use one of {', '.join(COMPARED)}")
        quantity, relative = QUANTITIES[found["name"]], _RELATIVE.fullmatch(found["bound"])
        if relative is None and found["bound"].endswith("%"):
            raise RooflineError(f"bad rule {text!r}: a change has a sign, such as +5% or -5%")
        bound = float(f"{relative['side']}{relative['percent']}") / 100 if relative else quantity.parse(found["bound"])
        return cls(quantity, found["sign"], bound, relative is not None, text.strip())  # pyright: ignore[reportArgumentType]

    def line(self, old: Side, new: Side) -> Line:
        """Tell whether *new* beside *old* breaks this rule."""
        before, after = old.spans[self.quantity.name], new.spans[self.quantity.name]
        limit = before.value * (1 + self.bound) if self.relative else self.bound
        change = after.value / before.value - 1 if before.value else 0.0
        show = self.quantity.show
        return Line(
            not _violates(after.value, limit, self.sign), self._uncertain(before, after), new.where, self.quantity.name,
            f"{show(before.value)} to {show(after.value)}", f"fails if {self.text}", f"{_signed(change)}{self._doubt(before, after)}",
            change, after.value, limit,
        )  # fmt: skip

    def _uncertain(self, before: Span, after: Span) -> bool:
        if self.relative:
            return before.low < before.high and before.low <= after.high and after.low <= before.high
        return after.low < self.bound < after.high

    def _doubt(self, before: Span, after: Span) -> str:
        if not self._uncertain(before, after):
            return ""
        show = self.quantity.show
        if self.relative:
            return "; the 80 % intervals overlap"
        return f"; uncertain, 80 % between {show(after.low)} and {show(after.high)}"


def compare(pairs: Sequence[tuple[Side, Side]], changes: Sequence[Change]) -> Check:
    """Check the new one of each pair of an old and a new side by every one of *changes*."""
    if not pairs:
        raise RooflineError("nothing to compare; give an old and a new network")
    title = " and ".join(dict.fromkeys(f"{new.name} beside {old.name}" for old, new in pairs))
    return Check(title, tuple(change.line(old, new) for old, new in pairs for change in changes))


def _violates(value: float, limit: float, sign: Comparison) -> bool:
    return {">": value > limit, ">=": value >= limit, "<": value < limit, "<=": value <= limit}[sign]


def _signed(change: float) -> str:
    return f"{100 * change:+.{1 if abs(change) < 1 else 0}f} %"


def _where(a: Analysis) -> str:
    return f"{a.model} on {a.hardware.id}, batch {a.batch}, {a.precision}, {a.mode}"


def _mark(line: Line) -> str:
    return ("\N{WHITE HEAVY CHECK MARK}" if line.passed else "\N{CROSS MARK}") + (" uncertain" if line.uncertain else "")


def _escape(text: str) -> str:
    """Keep what a name may hold from being read as Markdown or HTML, or from ending the row."""
    return re.sub(r"([\\|\[`*])", r"\\\1", shown(text)).replace("<", "&lt;").replace("@", "&#64;")
