"""Build what tests share: graphs of small calls through the real tracer, and hypothesis strategies of networks and graphs."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from hypothesis import strategies as st
from torch import nn

from roofline.graph import Graph, Op, Tensor, singletons
from roofline.tracing.trace import meta_copy, record

Shape = tuple[int, ...]


class Calls(nn.Module):
    """Call *function* with the inputs, then with parameters of the given shapes."""

    def __init__(self, function: Callable[..., Any], weights: Sequence[Shape] = ()) -> None:
        super().__init__()
        self.function = function
        self.weights = nn.ParameterList(torch.empty(shape, device="meta") for shape in weights)

    def forward(self, *inputs: torch.Tensor) -> Any:
        """Return what the function returns."""
        return self.function(*inputs, *self.weights)


def tensors(*inputs: Shape | torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Make a meta tensor of fp32 for each shape; tensors stay as they are."""
    return tuple(i if isinstance(i, torch.Tensor) else torch.empty(i, device="meta") for i in inputs)


def ints(*shape: int) -> torch.Tensor:
    """Make a meta tensor of int64."""
    return torch.empty(shape, dtype=torch.int64, device="meta")


def traced(model: nn.Module | Callable[..., Any], *inputs: Shape | torch.Tensor, weights: Sequence[Shape] = ()) -> Graph:
    """Record *model*, a module or a function, on inputs given as shapes or tensors, and check the graph's invariants."""
    module = meta_copy(model) if isinstance(model, nn.Module) else Calls(model, weights)
    graph = record(module, tensors(*inputs), name="test")
    graph.check()
    return graph


def op_names(graph: Graph) -> list[str]:
    """List the names of a graph's ops, in order."""
    return [op.name for op in graph.ops]


def kinds_of(graph: Graph) -> list[str]:
    """List the kinds of a graph's ops, in order."""
    from roofline.cost import work

    return [work(op, graph).kind for op in graph.ops]


def only(graph: Graph, name: str) -> Op:
    """Return the one op called *name*."""
    found = [op for op in graph.ops if op.name == name]
    assert len(found) == 1, f"{len(found)} ops are called {name!r} among {op_names(graph)}"
    return found[0]


# --- random networks, through the real tracer ------------------------------------------------------------------------


class Gate(nn.Module):
    """Squeeze and excite: scale each channel by a gate made from its mean."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, 4, 1)
        self.act = nn.ReLU(inplace=True)
        self.expand = nn.Conv2d(4, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return *x* scaled."""
        return x * self.expand(self.act(self.reduce(x.mean((2, 3), keepdim=True)))).sigmoid()


class Residual(nn.Module):
    """Add the input to what *body* makes of it."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return body(x) + x."""
        return self.body(x) + x


class Branches(nn.Module):
    """Concatenate what two pointwise convolutions make of each half of the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.left = nn.Conv2d(channels // 2, channels // 2, 1)
        self.right = nn.Conv2d(channels // 2, channels // 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return both halves side by side."""
        a, b = x.chunk(2, 1)
        return torch.cat([self.left(a), self.right(b)], 1)


def conv_bn(
    inputs: int, outputs: int, size: int = 3, *, groups: int = 1, act: nn.Module | None = None, bias: bool = False
) -> nn.Sequential:
    """Make a convolution, its batch norm and its activation."""
    layers = [nn.Conv2d(inputs, outputs, size, padding=size // 2, groups=groups, bias=bias), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([act] if act else []))


BLOCKS: dict[str, Callable[[int], nn.Module]] = {
    "conv": lambda c: conv_bn(c, c, act=nn.ReLU(inplace=True)),
    "biased": lambda c: conv_bn(c, c, 1, act=nn.Hardswish(), bias=True),
    "depthwise": lambda c: conv_bn(c, c, groups=c, act=nn.SiLU(inplace=True)),
    "grouped": lambda c: conv_bn(c, c, groups=2),
    "residual": lambda c: Residual(nn.Sequential(conv_bn(c, 2 * c, 1, act=nn.ReLU6()), conv_bn(2 * c, c, 1))),
    "gate": lambda c: Gate(c),
    "pool": lambda c: nn.MaxPool2d(3, 1, 1),
    "dropout": lambda c: nn.Dropout(0.1),
    "branches": lambda c: Branches(c),
    "norm": lambda c: nn.GroupNorm(2, c),
    "softmax": lambda c: nn.Softmax(1),
    "transposed": lambda c: nn.ConvTranspose2d(c, c, 3, padding=1),
}  # fmt: skip


def cnn(blocks: Sequence[str], channels: int = 8) -> nn.Sequential:
    """Build a small classifier of the named blocks."""
    body = nn.Sequential(*(BLOCKS[name](channels) for name in blocks))
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, stride=2, padding=1), body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 5)
    )


@cache
def traced_cnn(blocks: tuple[str, ...], channels: int = 8) -> Graph:
    """Trace `cnn(blocks, channels)` on images of 8 x 8 pixels."""
    return traced(cnn(blocks, channels), (1, 3, 8, 8))


def cnns() -> st.SearchStrategy[Graph]:
    """Draw the traced graph of a small CNN at some batch size."""
    blocks = st.lists(st.sampled_from(sorted(BLOCKS)), min_size=1, max_size=4).map(tuple)
    return st.builds(
        lambda names, channels, batch: traced_cnn(names, channels).with_batch(batch),
        blocks,
        st.sampled_from([4, 8]),
        st.sampled_from([1, 2, 16]),
    )


# --- random graphs, made of nothing but the data types ----------------------------------------------------------------

_scalars = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(max_size=5)
attributes = st.dictionaries(
    st.text(max_size=5), st.recursive(_scalars, lambda leaf: st.lists(leaf, max_size=3).map(tuple), max_leaves=6), max_size=3
)
shapes = st.lists(st.integers(1, 9), max_size=4).map(tuple)
dtypes = st.sampled_from(["fp32", "fp16", "bf16", "int8", "int4", "int64", "bool"])


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Draw a graph that keeps every invariant: each op reads some of what exists and writes one or two tensors."""
    made: list[Tensor] = []

    def tensor(kind: Any) -> int:
        shape = draw(shapes)
        powers = draw(st.sampled_from([(), (1,) * len(shape)]))
        storage = draw(st.sampled_from([len(made), *{t.storage for t in made}]))
        made.append(Tensor(len(made), shape, draw(dtypes), kind, storage, draw(st.text(max_size=4)), draw(st.floats(0, 1)), powers))
        return made[-1].id

    for kind in draw(st.lists(st.sampled_from(["input", "weight", "buffer"]), min_size=1, max_size=4)):
        tensor(kind)
    ops: list[Op] = []
    for i in range(draw(st.integers(0, 5))):
        inputs = tuple(draw(st.lists(st.sampled_from(range(len(made))), max_size=3)))
        outputs = tuple(tensor("activation") for _ in range(draw(st.integers(1, 2))))
        roles = tuple(draw(st.lists(st.sampled_from(["self", "weight", "bias"]), min_size=len(inputs), max_size=len(inputs))))
        ops.append(
            Op(
                i,
                draw(st.sampled_from(["conv2d", "relu", "x"])),
                draw(st.text(max_size=4)),
                inputs,
                outputs,
                roles,
                draw(attributes),
                {},
                draw(st.booleans()),
            )
        )
    return Graph(
        tuple(made), tuple(ops), singletons(tuple(ops)), (made[-1].id,), draw(st.sampled_from([1, 4, None])), draw(st.text(max_size=4)),
        draw(st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=2)),
    )  # fmt: skip
