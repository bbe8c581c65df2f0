"""Turn the text of a what-if, `NAME` or `NAME=VALUE`, into a change of the graph."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from roofline.errors import RooflineError, UnknownNameError
from roofline.graph import Graph
from roofline.transforms.fusion import fold_batch_norm, fuse_compiled, fuse_engine
from roofline.units import BITS


@dataclass(frozen=True, slots=True)
class Change:
    """A what-if: what it does in one line, the values it takes (none: it takes no value), and the function."""

    summary: str
    apply: Callable[[Graph, str], Graph]
    values: tuple[str, ...] = ()


def quantise_weights(graph: Graph, dtype: str) -> Graph:
    """Store the weights of convolutions and products as *dtype*; they are widened when read, so only bytes change."""
    read = {graph.tensors[t].storage for op in graph.ops for t, role in zip(op.inputs, op.roles, strict=True) if role in ("weight", "mat2")}
    tensors = tuple(
        replace(t, dtype=dtype) if t.kind == "weight" and t.storage in read and len(t.shape) > 1 and BITS[dtype] < BITS[t.dtype] else t
        for t in graph.tensors
    )
    return replace(graph, tensors=tensors)


CHANGES: Mapping[str, Change] = {
    "fold-bn": Change("fold each batch norm into the convolution or linear layer before it", lambda g, _: fold_batch_norm(g)),
    "fuse-pointwise": Change(
        "merge chains of elementwise ops, and the reductions they feed, into one kernel", lambda g, _: fuse_compiled(g)
    ),
    "fuse-all": Change("fold batch norms and merge bias, activation and residual into each product", lambda g, _: fuse_engine(g)),
    "weights": Change("store weights in a smaller type and widen them when read", quantise_weights, ("fp16", "bf16", "int8", "int4")),
}
"""Every what-if by the name it has on the command line. Each is `Graph -> Graph`; they apply in the order given."""


def parse_changes(texts: Sequence[str]) -> Callable[[Graph], Graph]:
    """Return the change that applies each of *texts* in order; raise UnknownNameError or RooflineError for a bad one."""
    steps = [_parse(text) for text in texts]

    def apply(graph: Graph) -> Graph:
        for change, value in steps:
            graph = change.apply(graph, value)
        return graph

    return apply


def _parse(text: str) -> tuple[Change, str]:
    name, separator, value = text.partition("=")
    change = CHANGES.get(name)
    if change is None:
        close = difflib.get_close_matches(name, CHANGES, n=1)
        hint = f"; did you mean {close[0]}?" if close else ";"
        raise UnknownNameError(f"unknown what-if {name!r}{hint} known: {', '.join(CHANGES)}")
    if change.values and value not in change.values:
        raise RooflineError(f"bad what-if {text!r}; write {name}=VALUE with one of {', '.join(change.values)}")
    if not change.values and separator:
        raise RooflineError(f"bad what-if {text!r}; {name} takes no value")
    return change, value
