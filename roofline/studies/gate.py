"""Check rules on changes, such as `latency>+5%`, on saved analyses."""

from collections.abc import Sequence

from roofline.studies.check import Change, Check, Side, compare
from roofline.studies.diff import Diff
from roofline.studies.limits import Span
from roofline.studies.saved import Saved


def gate(found: Diff, changes: Sequence[Change]) -> Check:
    """Check the new one of each pair by every one of *changes*."""
    return compare([(_side(pair.old), _side(pair.new)) for pair in found.pairs], changes)


def _side(saved: Saved) -> Side:
    where = f"{saved.model} on {saved.hardware}, batch {saved.batch}, {saved.precision}, {saved.mode}"
    exact = {"memory": saved.peak_memory, "macs": saved.macs / saved.batch, "params": saved.params, "traffic": saved.bytes}
    latency = Span(saved.latency, saved.low, saved.high)
    throughput = Span(*(saved.batch / seconds for seconds in (saved.latency, saved.high, saved.low)))
    spans = {"latency": latency, "throughput": throughput, **{name: Span(value, value, value) for name, value in exact.items()}}
    return Side(saved.model, where, spans)
