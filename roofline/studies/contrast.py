"""Say why one network runs as another does not: time by kind of op and by what binds it, side by side, and in words."""

from collections.abc import Iterator
from dataclasses import dataclass

from roofline import units
from roofline.costmodel.analysis import Analysis
from roofline.costmodel.timemodel import BOUNDS, Bound
from roofline.measurement.table import table

NOTED = 0.03
"""Share of the time from which a move is told of."""

MOVED = 0.25
"""Share of the time of a kind of op that must change its bound to be told of."""


@dataclass(frozen=True, slots=True)
class Share:
    """Seconds of one *kind* of op held by one *bound*, before and after."""

    kind: str
    bound: Bound
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Contrast:
    """Two analyses side by side, under the names that sentences give them."""

    before: Analysis
    after: Analysis
    names: tuple[str, str]

    @property
    def shares(self) -> tuple[Share, ...]:
        """Time by kind of op and bound, what takes most in either network first; what takes none in both is left out."""
        found: list[Share] = []
        for bound in BOUNDS:
            before, after = self.before.seconds_by_kind(bound), self.after.seconds_by_kind(bound)
            found += [Share(kind, bound, before[kind], after[kind]) for kind in before if before[kind] or after[kind]]
        return tuple(sorted(found, key=lambda s: -max(s.before, s.after)))

    def sentences(self) -> Iterator[str]:
        """Say in words what differs: work and time, what binds them, and which kinds of op came, went or changed their bound."""
        (old, new), a, b = self.names, self.before, self.after
        macs, latency = (b.macs / b.batch) / (a.macs / a.batch), b.latency / a.latency
        yield f"{new} has {units.significant(macs, 2)} times the MACs of {old}, and takes {units.significant(latency, 2)} times as long"
        moves = [(bound, a.seconds_by_bound[bound] / a.latency, b.seconds_by_bound[bound] / b.latency) for bound in BOUNDS]
        told = [f"{bound} {units.percent(x)} before, {units.percent(y)} after" for bound, x, y in moves if abs(x - y) >= NOTED]
        if told:
            yield f"what binds its time: {'; '.join(told)}"
        yield (
            f"it does {units.significant(b.intensity, 2)} FLOP for each byte moved, {old} {units.significant(a.intensity, 2)}, "
            f"and {units.scaled(b.macs / b.latency, 'MACs')} a second, {old} {units.scaled(a.macs / a.latency, 'MACs')}"
        )
        yield from self._ridge()
        yield from self._kinds()

    def _ridge(self) -> Iterator[str]:
        """Put the kinds of op that moved most beside the ridge point of the device."""
        kinds = dict.fromkeys(share.kind for share in self.shares)
        parts = {kind: sum(self._seconds(kind, self.after).values()) - sum(self._seconds(kind, self.before).values()) for kind in kinds}
        more, less = max(parts, key=parts.__getitem__), min(parts, key=parts.__getitem__)
        flops = self.after.columns.matrix_flops[self.after.index]
        dtype, device = self.after.columns.matrix_dtype[int(flops.argmax())], self.after.hardware
        told: list[str] = []
        for kind, analysis in ((less, self.before), (more, self.after)):
            change = f"{units.seconds(abs(parts[kind]))} {'more' if parts[kind] > 0 else 'less'}"
            rows = [row for row in analysis.by_op() if row.kind == kind and parts[kind]]
            told += [f"{kind} does {units.significant(row.cost.intensity, 2)}, in {change}" for row in rows]
        if told:
            ridge = f"{device.ridge(dtype):.0f} FLOP a byte keep {device.id} busy in {dtype}, with less it waits for memory"
            yield f"{ridge}: {'; '.join(told)}"

    def _kinds(self) -> Iterator[str]:
        """Tell of each kind of op whose time or bound changed."""
        kinds = dict.fromkeys(share.kind for share in self.shares)
        for kind in kinds:
            x, y = self._seconds(kind, self.before), self._seconds(kind, self.after)
            before, after = sum(x.values()), sum(y.values())
            shares = before / self.before.latency, after / self.after.latency
            if max(shares) < NOTED:
                continue
            moved: list[Bound] = [bound for bound in BOUNDS if before and after and abs(y[bound] / after - x[bound] / before) >= MOVED]
            parts: list[str] = []
            if abs(shares[0] - shares[1]) >= NOTED:
                parts.append(f"{units.percent(shares[0])} of the time before, {units.percent(shares[1])} after")
            parts += [
                f"{bound}-bound for {units.percent(x[bound] / before)} of that before, {units.percent(y[bound] / after)} after"
                for bound in moved
            ]
            if not before:
                parts = [f"new, {units.percent(shares[1])} of the time, {max(BOUNDS, key=lambda bound: y[bound])}-bound"]
            if parts:
                yield f"{kind}: {'; '.join(parts)}"

    def _seconds(self, kind: str, analysis: Analysis) -> dict[Bound, float]:
        return {bound: analysis.seconds_by_kind(bound)[kind] for bound in BOUNDS}

    def lines(self, width: int = 80, top: int = 12) -> Iterator[str]:
        """Write the *top* shares as a table, and the sentences below it."""
        import textwrap

        rows = [(s.kind, s.bound, _time(s.before), _time(s.after)) for s in self.shares[:top]]
        rows.append(("all", "", units.seconds(self.before.latency), units.seconds(self.after.latency)))
        yield from table(("kind of op", "bound", *self.names), rows, words=("bound",), width=width)
        yield ""
        for sentence in self.sentences():
            yield from textwrap.wrap(f"- {sentence}", width, subsequent_indent="  ")


def contrast(before: Analysis, after: Analysis, names: tuple[str, str] = ("before", "after")) -> Contrast:
    """Put two analyses side by side; *names* are what the table and the sentences call them."""
    return Contrast(before, after, names)


def _time(seconds: float) -> str:
    return units.seconds(seconds) if seconds else "-"
