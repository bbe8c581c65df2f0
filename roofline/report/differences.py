"""Put analyses side by side: how each differs from the first, which kinds of op make the difference, and whether MACs foretell it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roofline import units
from roofline.costmodel.analysis import Analysis
from roofline.errors import RooflineError
from roofline.files import save
from roofline.report.subject import AS_IS, METRICS, Metric, Subject

if TYPE_CHECKING:
    from pandas import DataFrame

AXES = ("source", "model", "what_if", "mode", "precision", "layout", "hardware", "batch")
"""What may differ between subjects. The first that does is what is compared; the others set the conditions."""

SAME = 0.005
"""Change below which two figures count as the same."""

NAMED = 3
"""Kinds of op that a sentence names."""


@dataclass(frozen=True, slots=True)
class Group:
    """Subjects under one *condition* (empty: there is no other), with their *labels*; the first is what the others are compared with."""

    condition: str
    labels: tuple[str, ...]
    subjects: tuple[Subject, ...]

    @property
    def first(self) -> Subject:
        """What the others are compared with."""
        return self.subjects[0]

    def ratio(self, metric: Metric, subject: Subject) -> float | None:
        """Tell how many times larger a figure of *subject* is than that of the first; None where that one is zero, or is a share."""
        base = metric.value(self.first)
        return metric.value(subject) / base if base and not metric.is_share else None

    def kinds(self) -> list[tuple[str, tuple[float, ...]]]:
        """Give seconds by kind of op for every subject; the kinds that differ most from the first come first."""
        names = dict.fromkeys(name for subject in self.subjects for name in subject.kinds)
        rows = [(name, tuple(subject.kinds.get(name, 0.0) for subject in self.subjects)) for name in names]
        return sorted(rows, key=lambda row: -max(abs(s - row[1][0]) for s in row[1]))

    def sentences(self) -> list[str]:
        """Say in plain words how each differs from the first and by which kinds of op, and what MACs tell of it."""
        return [*self._changes(), *self._ranks(), *self._overlaps()]

    def _changes(self) -> Iterator[str]:
        for i, (label, subject) in enumerate(zip(self.labels, self.subjects, strict=True)):
            if i == 0:
                continue
            change = subject.latency_seconds - self.first.latency_seconds
            if abs(change) < SAME * self.first.latency_seconds:
                yield f"{label} takes as long as {self.labels[0]}."
                continue
            parts = sorted(((s[i] - s[0], kind) for kind, s in self.kinds()), key=lambda part: -abs(part[0]))
            named = ", ".join(f"{kind} {signed(s)}" for s, kind in parts[:NAMED] if abs(s) > 0.02 * abs(change))
            times = f"{_times(subject.latency_seconds / self.first.latency_seconds)} as long as"
            yield f"{label} takes {times} {self.labels[0]} ({signed(change)}): {named}."

    def _ranks(self) -> Iterator[str]:
        """Compare the order by MACs with the order by latency, over all pairs whose MACs differ."""
        named = list(zip(self.labels, self.subjects, strict=True))
        pairs = [sorted(pair, key=lambda p: p[1].macs) for pair in combinations(named, 2)]
        pairs = [(few, many) for few, many in pairs if many[1].macs > few[1].macs * (1 + SAME)]
        if not pairs:
            return
        wrong = [(few, many) for few, many in pairs if few[1].latency_seconds > many[1].latency_seconds * (1 + SAME)]

        def surprise(pair: Sequence[tuple[str, Subject]]) -> float:
            (_, few), (_, many) = pair
            return many.macs / max(few.macs, 1.0) * few.latency_seconds / many.latency_seconds

        (few, a), (many, b) = max(wrong or pairs, key=surprise)
        fewer = f"{units.significant(b.macs / a.macs, 2)} times fewer MACs than {many}" if a.macs else f"no MACs, {many} has some"
        takes = f"{few} has {fewer} and takes {_times(a.latency_seconds / b.latency_seconds)} as long"
        reason = f"it does {_intensity(a)} FLOP per byte, {many} {_intensity(b)}"
        if wrong:
            also = f" MACs rank {len(wrong)} of {len(pairs)} pairs the wrong way round." if len(pairs) > 1 else ""
            yield f"{takes}: {reason}, and it is bound by {a.bound}.{also}"
        else:
            yield f"{takes}: {reason}.{' MACs rank all of them as latency does.' if len(pairs) > 1 else ''}"

    def _overlaps(self) -> Iterator[str]:
        """Warn where networks or devices are too close to call; a what-if changes one network, whose error it shares."""
        for label, subject in zip(self.labels[1:], self.subjects[1:], strict=True):
            one = (subject.model, subject.hardware, subject.source) == (self.first.model, self.first.hardware, self.first.source)
            apart = subject.low_seconds > self.first.high_seconds or subject.high_seconds < self.first.low_seconds
            if not one and not apart and abs(subject.latency_seconds / self.first.latency_seconds - 1) > SAME:
                yield f"The 80 % intervals of {self.labels[0]} and {label} overlap: measured, they may come out the other way round."


@dataclass(frozen=True, slots=True)
class Differences:
    """Analyses side by side, in groups that share their conditions; *analyses* are those that were made here, not read from files.

    With *costs*, texts show dollars and joules too.
    """

    subjects: tuple[Subject, ...]
    analyses: tuple[Analysis, ...] = ()
    costs: bool = False

    @property
    def axis(self) -> str:
        """What is compared: the first of AXES that is not the same in all subjects."""
        return next((axis for axis in AXES if len({getattr(s, axis) for s in self.subjects}) > 1), "model")

    @property
    def groups(self) -> tuple[Group, ...]:
        """Subjects that differ in the compared axis alone, or all together where some would stand alone."""
        varying = [axis for axis in AXES if len({getattr(s, axis) for s in self.subjects}) > 1]
        if not varying:
            return (Group("", tuple(f"{s.model} ({i + 1})" for i, s in enumerate(self.subjects)), self.subjects),)
        found: dict[str, list[Subject]] = {}
        for subject in self.subjects:
            found.setdefault(_label(subject, varying[1:]), []).append(subject)
        sizes = {len({getattr(s, varying[0]) for s in members}) for members in found.values()}
        if sizes == {len(self.subjects) // len(found)} and 1 not in sizes:
            return tuple(Group(name, tuple(_label(s, varying[:1]) for s in members), tuple(members)) for name, members in found.items())
        return (Group("", tuple(_label(s, varying) for s in self.subjects), self.subjects),)

    @property
    def conditions(self) -> str:
        """What is the same in all subjects, in words."""
        same = [axis for axis in AXES[1:] if len({getattr(s, axis) for s in self.subjects}) == 1]
        return _label(self.subjects[0], [axis for axis in same if axis != "what_if" or self.subjects[0].what_if != AS_IS])

    def rows(self) -> list[dict[str, Any]]:
        """Return a plain dictionary per subject: what was asked, every figure in base units, and its ratio to the first of its group."""
        return [self._row(group, label, s) for group in self.groups for label, s in zip(group.labels, group.subjects, strict=True)]

    def __str__(self) -> str:
        from roofline.report.comparing import to_text

        return to_text(self)

    def to_json(self, path: str | Path | None = None) -> str:
        """Return subjects, ratios and sentences as JSON with a schema version, and write it to *path* if given."""
        from roofline.report.comparing import to_json

        return save(to_json(self), path)

    def to_csv(self, path: str | Path | None = None) -> str:
        """Return one CSV line per subject, with the unit in each heading, and write it to *path* if given."""
        from roofline.report.comparing import to_csv

        return save(to_csv(self), path)

    def to_markdown(self, path: str | Path | None = None) -> str:
        """Return tables and sentences as Markdown, fit for a pull request, and write it to *path* if given."""
        from roofline.report.comparing import to_markdown

        return save(to_markdown(self), path)

    def to_html(self, path: str | Path | None = None) -> str:
        """Return one self-contained page, and write it to *path* if given; analyses read from files hold too little for that."""
        self.check_page()
        from roofline.report.html import to_compare_html

        return save(to_compare_html(self.analyses), path)

    def to_pandas(self) -> "DataFrame":
        """Return `rows()` as a pandas DataFrame."""
        from roofline.costmodel.tables import typed

        return typed(self.rows())

    def check_page(self) -> None:
        """Raise RooflineError unless every subject was analyzed here."""
        if len(self.analyses) < len(self.subjects):
            raise RooflineError("a page needs every kernel, and a saved analysis has too little; name the network, or use .md, .json, .csv")

    def _row(self, group: Group, label: str, subject: Subject) -> dict[str, Any]:
        asked = {"group": group.condition, "label": label, "against": group.labels[0]}
        plain = {f.name: getattr(subject, f.name) for f in fields(Subject) if f.name not in ("seconds_by_bound", "kinds", "unknown")}
        derived = {name: getattr(subject, name) for name in ("throughput_items_per_second", "intensity_flop_per_byte")}
        ratios = {f"{name}_ratio": group.ratio(metric, subject) for name, metric in METRICS.items() if not metric.is_share}
        return {**asked, **plain, **derived, **ratios}


def signed(seconds: float) -> str:
    """Write a difference of times with its sign."""
    return f"{'+' if seconds >= 0 else '-'}{units.seconds(abs(seconds))}"


def change(ratio: float | None) -> str:
    """Write a ratio as a reader takes it in: `+12 %`, `-35 %`, and beyond twice or half as a factor."""
    if ratio is None:
        return ""
    if abs(ratio - 1) < SAME:
        return "="
    return f"x{units.significant(ratio, 2 if ratio < 100 else 3)}" if not 0.5 <= ratio <= 2 else f"{100 * (ratio - 1):+.0f} %"


def _times(ratio: float) -> str:
    return f"{units.significant(ratio, 2) if not 0.5 <= ratio <= 2 else f'{ratio:.2f}'} times"


def _intensity(subject: Subject) -> str:
    return units.significant(subject.intensity_flop_per_byte, 2)


def _label(subject: Subject, axes: Sequence[str]) -> str:
    """Name *subject* by its values on *axes*."""
    words: Mapping[str, str] = {"batch": f"batch {subject.batch}", "source": subject.source or "now"}
    return ", ".join(words.get(axis, str(getattr(subject, axis))) for axis in axes)
