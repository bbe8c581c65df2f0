"""Turn measured cases and networks into samples for the fit: a graph each, and the seconds that the whole of it took.

A case and a network are samples as they were timed, the cases with an allocator that keeps memory, the networks in processes of
their own. The ops of a network
become samples too, each as a graph of its own: what the whole took beyond the sum of its ops (Python between them,
memory given back) is shared out among them, so that they add up to the whole.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from roofline.costmodel.allocator import Process, asked_anew
from roofline.costmodel.columns import tabulate
from roofline.graph import Graph, Op, Tensor, singletons
from roofline.measurement.measurement import Measurement
from roofline.measurement.shapes import Case
from roofline.tracing.source import trace
from roofline.transforms.modes import check_layout

if TYPE_CHECKING:
    from roofline.measurement.fit import Sample

MOST = 2000
"""Samples that are handed on at most."""

BETWEEN = 7e-6
"""Seconds of Python between two ops of a network, at most: 6 to 8 us from MobileNet to RegNet at batch 1 on an EPYC at 3 GHz."""


def samples(cases: Iterable[Measurement], networks: Iterable[Measurement], designed: Sequence[Case]) -> "list[Sample]":
    """Give each case, each network, and each distinct op of each network its graph."""
    by_label = {case.label: case for case in designed}
    found = [replace(_sample(_case_graph(by_label[m.model]), m, m.median, m.model), kept=True) for m in cases if m.model in by_label]
    for measured in networks:
        graph = network_graph(measured)
        found.append(_sample(graph, measured, measured.median, measured.model))
        found += (replace(_sample(part, measured, seconds, label), anew=anew) for part, seconds, label, anew in op_times(graph, measured))
    return found[:MOST]


def _sample(graph: Graph, measured: Measurement, seconds: float, label: str) -> "Sample":
    from roofline.measurement.fit import Sample

    return Sample(graph, measured.batch, measured.precision, measured.mode, measured.layout, seconds, label)


def _case_graph(case: Case) -> Graph:
    return replace(trace(case.build(), case.example), name=case.label)


def network_graph(measured: Measurement) -> Graph:
    """Trace the network that was *measured*, whose name its batch follows, at that batch."""
    return trace(measured.model.rpartition(" b")[0]).with_batch(measured.batch)


def op_times(graph: Graph, measured: Measurement) -> list[tuple[Graph, float, str, float]]:
    """Return each distinct op of *graph* as a graph, the seconds it takes in the network, a label, and the bytes it asks the system for.

    Views take no part. The seconds of all ops, each as often as it occurs, sum to those of the whole network.
    """
    timed = [(graph.ops[o.op], o.median) for o in measured.ops if o.kind != "view"]
    groups: dict[Any, list[tuple[Op, float]]] = {}
    for op, seconds in timed:
        groups.setdefault(_likeness(op, graph), []).append((op, seconds))
    fixed, factor = _shares([seconds for _, seconds in timed], measured.median)
    process = Process("eager", check_layout(measured.layout))
    anew = asked_anew(tabulate(graph, [measured.batch]), process)[0] if timed else ()
    return [
        (
            op_graph(graph, group[0][0]), fixed + factor * sum(s for _, s in group) / len(group), _label(group, measured),
            float(sum(anew[graph.kernel_of[op.id]] for op, _ in group)) / len(group),
        )
        for group in groups.values()
    ]  # fmt: skip


def _shares(seconds: Sequence[float], whole: float) -> tuple[float, float]:
    """Return what to add to each of *seconds*, and by which factor to multiply it before, so that they sum to *whole*."""
    rest = max(whole - sum(seconds), 0.0)
    fixed = min(rest / max(len(seconds), 1), BETWEEN)
    return fixed, (whole - fixed * len(seconds)) / sum(seconds) if seconds else 1.0


def _label(group: Sequence[tuple[Op, float]], measured: Measurement) -> str:
    op = group[0][0]
    more = f" and {len(group) - 1} like it" if len(group) > 1 else ""
    return f"op {op.name} at {op.module or 'the root'} of {measured.model}{more}"


def _likeness(op: Op, graph: Graph) -> Any:
    """Return what two ops share that do the same work on the same shapes."""
    shapes = tuple((graph.tensors[t].shape, graph.tensors[t].dtype, graph.tensors[t].kind) for t in (*op.inputs, *op.outputs))
    return op.name, op.roles, shapes, op.inplace, repr(sorted(op.attrs.items(), key=lambda item: item[0]))


def op_graph(graph: Graph, op: Op) -> Graph:
    """Cut *op* out of *graph*: what another op wrote becomes an input, and a view brings the tensor whose memory it shows."""
    roots = (graph.tensors[t].storage for t in op.inputs)
    outside = [t for t in dict.fromkeys((*roots, *op.inputs)) if t not in op.outputs]
    new = {old: i for i, old in enumerate((*outside, *op.outputs))}
    tensors = tuple(_moved(graph.tensors[old], graph, new, written=old in op.outputs) for old in new)
    alone = replace(op, id=0, inputs=tuple(new[t] for t in op.inputs), outputs=tuple(new[t] for t in op.outputs))
    modules = {path: graph.modules[path] for path in ("", op.module) if path in graph.modules}
    return replace(graph, tensors=tensors, ops=(alone,), kernels=singletons((alone,)), outputs=alone.outputs, modules=modules)


def _moved(tensor: Tensor, graph: Graph, new: Mapping[int, int], *, written: bool) -> Tensor:
    """Give *tensor* its *new* id and storage; unless it is *written* here, it has the role of the tensor whose memory it shows."""
    kind = graph.tensors[tensor.storage].kind
    outside = "input" if kind == "activation" else kind
    return replace(tensor, id=new[tensor.id], storage=new[tensor.storage], kind=tensor.kind if written else outside)
