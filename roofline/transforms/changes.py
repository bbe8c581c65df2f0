"""Turn the text of a what-if, `NAME[=VALUE][@LAYERS]`, into a change of the graph or of the way it is run."""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from roofline import units
from roofline.errors import RooflineError, UnknownNameError
from roofline.graph import Graph
from roofline.transforms.compiler import fuse_compiled
from roofline.transforms.excite import fuse_excite
from roofline.transforms.fusion import fold_batch_norm, fuse_activation, fuse_engine, fuse_residual
from roofline.transforms.modes import Way
from roofline.transforms.precision import layers_to_precision
from roofline.transforms.pruning import Share, left_alone, prune
from roofline.transforms.quantise import quantise, quantise_activations, quantise_weights
from roofline.transforms.selection import EVERYWHERE, Where
from roofline.transforms.sparsity import sparse_2_4, sparse_activations, sparse_weights

Rewrite = Callable[[Graph, Any, Where], Graph]
Rerun = Callable[[Way, Any], Way]
Explain = Callable[[Graph, Any, Where], Iterator[str]]


@dataclass(frozen=True, slots=True)
class Change:
    """A what-if: what it does and what it takes in one line each, the values it knows, and its functions.

    *rewrite* changes the graph, *rerun* the way it is run; one that rewrites takes a choice of layers. *values* are words; where *read*
    is given any text that it reads will do, *form* and *such* show how to write it, and it raises ValueError. *optional* tells that the
    value may be left out. *lossy* values change what the network computes. *explain* says what a reader should know.
    """

    summary: str
    takes: str = ""
    rewrite: Rewrite | None = None
    rerun: Rerun | None = None
    values: tuple[str, ...] = ()
    read: Callable[[str], Any] | None = None
    form: str = ""
    such: str = ""
    optional: bool = False
    lossy: frozenset[str] | bool = False
    explain: Explain | None = None

    @property
    def usage(self) -> str:
        """What follows the name: the words or the form of its value, and whether layers can be chosen."""
        value = "|".join(self.values) or self.form
        shown = f"[={value}]" if value and self.optional else f"={value}" if value else ""
        return shown + ("[@LAYERS]" if self.rewrite else "")


@dataclass(frozen=True, slots=True)
class Step:
    """A what-if as it was asked for: its text, the change, the value read from it and the layers chosen."""

    text: str
    change: Change
    value: Any
    where: Where

    @property
    def lossy(self) -> bool:
        """Tell whether the network computes something else after it."""
        kinds = self.change.lossy
        return kinds if isinstance(kinds, bool) else self.value in kinds


@dataclass(frozen=True, slots=True)
class Changes:
    """What-ifs in the order given: a function from graph to graph, and from a way of running to another."""

    steps: tuple[Step, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """The what-ifs as they were written."""
        return tuple(step.text for step in self.steps)

    def __call__(self, graph: Graph) -> Graph:
        """Return the changed graph."""
        return self.explained(graph)[0]

    def explained(self, graph: Graph) -> tuple[Graph, tuple[str, ...]]:
        """Return the changed graph and what a reader should know of the changes, a sentence each."""
        remarks: list[str] = []
        lossy = [step.text for step in self.steps if step.lossy]
        if lossy:
            remarks.append(f"accuracy is not predicted; it may suffer from {', '.join(lossy)}")
        for step in self.steps:
            if step.change.rewrite is None:
                continue
            step.where.check(graph)
            before, graph = graph, step.change.rewrite(graph, step.value, step.where)
            if step.change.explain is not None:
                remarks += (f"{step.text}: {remark}" for remark in step.change.explain(before, step.value, step.where))
        return graph, tuple(remarks)

    def rerun(self, way: Way) -> Way:
        """Return *way* as the changes leave it."""
        for step in self.steps:
            way = way if step.change.rerun is None else step.change.rerun(way, step.value)
        return way


NOTHING = Changes()
"""Changes nothing."""


def parse_changes(texts: Sequence[str]) -> Changes:
    """Return the changes that *texts* ask for, in order; raise UnknownNameError or RooflineError for a bad one."""
    return Changes(tuple(map(_parse, texts)))


def _parse(text: str) -> Step:
    head, at, layers = text.partition("@")
    name, equals, value = head.partition("=")
    change = CHANGES.get(name)
    if change is None:
        close = difflib.get_close_matches(name, CHANGES, n=1)
        hint = f"; did you mean {close[0]}?" if close else ";"
        raise UnknownNameError(f"unknown what-if {name!r}{hint} known: {', '.join(CHANGES)}")
    where = Where(layers) if at else EVERYWHERE
    if at and change.rewrite is None:
        raise RooflineError(f"bad what-if {text!r}; {name} changes the whole run, so drop what follows @")
    if at and not (where.chosen or where.left_out):
        raise RooflineError(f"bad what-if {text!r}; write module paths after @, as in @blocks.5")
    return Step(text, change, _value(text, name, change, value if equals else None), where)


def _value(text: str, name: str, change: Change, value: str | None) -> Any:
    """Read the value of a what-if, None where it has none."""
    if value is None and (change.optional or not (change.values or change.read)):
        return None
    if change.read is not None:
        try:
            return change.read(value or "")
        except ValueError:
            raise RooflineError(f"bad what-if {text!r}; write {name}={change.form}, {change.such}") from None
    if change.values and value not in change.values:
        raise RooflineError(f"bad what-if {text!r}; write {name}=VALUE with one of {', '.join(change.values)}")
    if not change.values:
        raise RooflineError(f"bad what-if {text!r}; {name} takes no value")
    return value


def _ratio(text: str) -> float:
    """Read a share between 0 and 1, neither included; raise ValueError otherwise."""
    value = float(text)
    if not 0 < value < 1:
        raise ValueError(text)
    return value


def _share(text: str) -> Share:
    """Read `RATIO[:MULTIPLE]`; raise ValueError otherwise."""
    ratio, colon, multiple = text.partition(":")
    share = Share(_ratio(ratio), int(multiple) if colon else 8)
    if share.multiple < 1:
        raise ValueError(text)
    return share


def _capacity(text: str) -> float:
    size = units.parse(text)
    if size <= 0:
        raise ValueError(text)
    return size


def _bound(*_: object) -> Iterator[str]:
    yield "a bound on what could be saved at most; no device here skips zeros of activations"


def _stored(*_: object) -> Iterator[str]:
    yield "only bytes fall (a bit for each weight says whether it is kept); no engine here skips the arithmetic"


_SMALL = frozenset({"int8", "int4"})
_KERNELS = "kernels written for it, as compilers and engines have"

CHANGES: Mapping[str, Change] = {
    "fold-bn": Change(
        "fold each batch norm into the convolution or linear layer before it", "nothing: the same numbers, in inference only",
        lambda g, _, where: fold_batch_norm(g, where),
    ),
    "fuse-pointwise": Change(
        "merge chains of elementwise ops, and the reductions they feed, into one kernel", "a pointwise compiler, such as torch.compile",
        lambda g, _, where: fuse_compiled(g, where),
    ),
    "fuse-activation": Change(
        "compute each activation, swish too, in the kernel that makes its input", _KERNELS, lambda g, _, where: fuse_activation(g, where)
    ),
    "fuse-residual": Change(
        "add each residual in the kernel that makes the later summand", _KERNELS, lambda g, _, where: fuse_residual(g, where)
    ),
    "fuse-se": Change(
        "run the gate of each squeeze-excite as one kernel between its pooling and its product", _KERNELS,
        lambda g, _, where: fuse_excite(g, where),
    ),
    "fuse-all": Change(
        "fold batch norms, merge bias, activation and residual into each product, and concatenate in place", _KERNELS,
        lambda g, _, where: fuse_engine(g, where),
    ),
    "depth-first": Change(
        "keep chains of layers on the chip, in SIZE bytes of it (default: its largest cache)",
        "an engine that nobody ships: a bound", rerun=lambda way, size: replace(way, mode="ideal", capacity=size),
        read=_capacity, form="SIZE", such="such as 32MiB", optional=True,
    ),
    "cuda-graphs": Change(
        "capture the launches once and replay them, without a host that dispatches or calls", "fixed shapes; a GPU",
        rerun=lambda way, _: replace(way, replayed=True),
    ),
    "keep-memory": Change(
        "keep what a run on a CPU frees for the next one, so that the system clears no page anew",
        "a setting of the allocator, or another one; a CPU", rerun=lambda way, _: replace(way, keeps_memory=True),
    ),
    "channels-last": Change(
        "keep images in the order nhwc, as tensor cores read them", "a line of code",
        rerun=lambda way, _: replace(way, layout="nhwc"),
    ),
    "precision": Change(
        "let layers compute and store in another type, with casts where they meet others", "that type's unit in the device",
        lambda g, dtype, where: layers_to_precision(g, dtype, where), values=("fp32", "fp16", "bf16", "int8"), lossy=_SMALL,
    ),
    "weights": Change(
        "store weights in a smaller type and widen them when read", "kernels that widen weights",
        lambda g, dtype, where: quantise_weights(g, dtype, where), values=("fp16", "bf16", "int8", "int4"), lossy=_SMALL,
    ),
    "activations": Change(
        "store what products read in int8, with quantise ops where floats meet it", "calibration on data",
        lambda g, dtype, where: quantise_activations(g, dtype, where), values=("int8",), lossy=_SMALL,
    ),
    "int8": Change(
        "weights and activations of products in int8, computed on integers", "an int8 engine, and calibration on data",
        lambda g, _, where: quantise(g, "int8", where), lossy=True,
    ),
    "prune": Change(
        "drop the share RATIO of all channels, to multiples of MULTIPLE (default 8)", "training the smaller network again",
        prune, read=_share, form="RATIO[:MULTIPLE]", such="a share between 0 and 1 such as prune=0.5", lossy=True, explain=left_alone,
    ),
    "sparse": Change(
        "two of each four weights zero (2:4), for matrix engines that skip them", "a GPU with 2:4 units, and training again",
        lambda g, _, where: sparse_2_4(g, where), values=("2:4",), lossy=True,
    ),
    "sparse-weights": Change(
        "the share ZEROS of weights zero, anywhere, and stored compressed", "kernels that unpack weights, and training again",
        lambda g, zeros, where: sparse_weights(g, zeros, where), read=_ratio, form="ZEROS", such="a share between 0 and 1 such as 0.8",
        lossy=True, explain=_stored,
    ),
    "sparse-activations": Change(
        "the share ZEROS of what ReLUs write zero, neither moved nor multiplied", "hardware that skips zeros: a bound",
        lambda g, zeros, where: sparse_activations(g, zeros, where), read=_ratio, form="ZEROS", such="a share between 0 and 1 such as 0.5",
        explain=_bound,
    ),
}  # fmt: skip
"""Every what-if by the name it has on the command line; they apply in the order given."""
