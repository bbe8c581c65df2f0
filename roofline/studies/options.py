"""What could be done to a network that is too slow: single steps, and sets of them that go together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from roofline.costmodel.analyze import half_type
from roofline.costmodel.device import Hardware
from roofline.transforms.changes import CHANGES

HALF = "half"
"""Stands for the half-precision type of a device."""


@dataclass(frozen=True, slots=True)
class Option:
    """A way to run a network faster: what-ifs, and another mode, precision or layout (None: as today), *times* as many items at once.

    *takes* says what it asks for, a phrase each; *steps* counts those that were put together. A *bound* can be had from nobody: it
    tells what could be saved at most.
    """

    name: str
    what_if: tuple[str, ...] = ()
    mode: str | None = None
    precision: str | None = None
    layout: str | None = None
    times: int = 1
    takes: tuple[str, ...] = ()
    steps: int = 1
    bound: bool = False

    def __add__(self, other: "Option") -> "Option":
        return Option(
            f"{self.name} + {other.name}", self.what_if + other.what_if, other.mode or self.mode, other.precision or self.precision,
            other.layout or self.layout, self.times * other.times, tuple(dict.fromkeys(self.takes + other.takes)),
            self.steps + other.steps, self.bound or other.bound,
        )  # fmt: skip

    @property
    def parts(self) -> frozenset[str]:
        """Names of the steps that were put together."""
        return frozenset(self.name.split(" + "))

    @property
    def changes(self) -> frozenset[str]:
        """What it changes: the `mode`, `precision`, `layout` or `batch` of the whole run, or the `graph` alone."""
        whole = {"mode": self.mode, "precision": self.precision, "layout": self.layout, "batch": self.times > 1 or None}
        return frozenset(name for name, value in whole.items() if value) | {_CHANGED.get(text, "graph") for text in self.what_if}


_CHANGED = {"int8": "precision", "weights=int8": "precision", "cuda-graphs": "mode", "keep-memory": "mode", "depth-first": "mode"}
"""What a what-if changes where it is more than the graph."""

ENGINE = "an inference engine, such as TensorRT or OpenVINO"
CHECKED = "accuracy checked in that type"

STEPS: Mapping[str, Option] = {
    option.name: option
    for option in (
        Option("batch x 8", times=8, takes=("items that can wait for seven others",)),
        Option("tf32", precision="tf32", takes=("a line of code; products rounded",)),
        Option("amp", precision="amp", takes=("a line of code (autocast)",)),
        Option(HALF, precision=HALF, takes=(CHECKED,)),
        Option("compiled", mode="compiled", takes=("torch.compile, and time to compile",)),
        Option("engine", mode="engine", takes=(ENGINE,)),
        Option("int8", what_if=("fold-bn", "int8"), takes=("calibration on data; accuracy is not predicted",)),
        Option("channels-last", layout="nhwc", takes=(CHANGES["channels-last"].takes,)),
        Option("prune=0.5", what_if=("prune=0.5",), takes=("training again with half the channels; accuracy is not predicted",)),
        Option("sparse=2:4", what_if=("sparse=2:4",), takes=("training again with zeros; accuracy is not predicted",)),
        Option("weights=int8", what_if=("weights=int8",), takes=("kernels that widen weights; accuracy is not predicted",)),
        *(
            Option(name, what_if=(name,), takes=(CHANGES[name].takes,))
            for name in (
                "cuda-graphs", "keep-memory", "fold-bn", "fuse-pointwise", "fuse-activation", "fuse-residual", "fuse-se", "fuse-all",
            )
        ),
        Option("depth-first", what_if=("depth-first",), takes=("an engine that nobody ships",), bound=True),
    )
}  # fmt: skip
"""Single steps by name."""

TOGETHER: Sequence[tuple[str, ...]] = (
    (HALF, "channels-last"), (HALF, "compiled"), (HALF, "engine"), ("compiled", "batch x 8"), ("engine", "batch x 8"), (HALF, "batch x 8"),
    (HALF, "engine", "batch x 8"), ("engine", "cuda-graphs"), (HALF, "engine", "cuda-graphs"), ("cuda-graphs", "fold-bn"),
    ("cuda-graphs", "fold-bn", HALF), ("compiled", "keep-memory"), ("engine", "int8"), ("engine", "int8", "batch x 8"),
    ("engine", "prune=0.5"), (HALF, "engine", "prune=0.5"), (HALF, "engine", "sparse=2:4"),
)  # fmt: skip
"""Steps that are often taken together."""

GPU_ONLY = frozenset({"cuda-graphs", "channels-last", "amp", "tf32"})
"""Steps that CPUs do not have, or that change nothing there that was measured."""

CPU_ONLY = frozenset({"keep-memory"})
"""Steps that change nothing on a GPU, whose memory PyTorch keeps."""

_GROUND = ("mode", "precision", "layout")


def options_for(hardware: Hardware, mode: str, precision: str, layout: str, *, batched: bool = True) -> Iterator[Option]:
    """List what may help a network that runs in this way on *hardware*: steps that are new to it and that the device knows of."""
    half = half_type(hardware)
    today = {"mode": mode, "precision": precision, "layout": layout}

    def fits(name: str) -> bool:
        step = STEPS[name]
        if name in (GPU_ONLY if hardware.kind == "cpu" else CPU_ONLY):
            return False
        if name == "sparse=2:4" and not hardware.sparsity_2_4:
            return False
        if name == "int8" and (not hardware.supports("int8") or precision in ("int8", "int4")):
            return False
        if step.times > 1 and not batched:
            return False
        if step.precision and precision not in ("fp32", "tf32"):
            return False
        if step.precision and not hardware.supports(half if step.precision in (HALF, "amp") else step.precision):
            return False
        return any(getattr(step, key) not in (None, today[key]) for key in _GROUND) or bool(step.what_if) or step.times > 1

    def named(names: Sequence[str]) -> Option:
        first, *others = (STEPS[name] for name in names)
        option = sum(others, first)
        chosen = half if option.precision == HALF else option.precision
        return replace(option, name=option.name.replace(HALF, half, 1), precision=chosen)

    singles = [(name,) for name in STEPS if name != "int8" or mode == "engine"]  # PyTorch has no int8 kernels to run eagerly on a GPU
    return (named(names) for names in (*singles, *TOGETHER) if all(map(fits, names)))
