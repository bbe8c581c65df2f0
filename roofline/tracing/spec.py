"""Say which network is meant and what it is fed, and what was built from that."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from roofline.errors import RooflineError

if TYPE_CHECKING:
    import torch

ZOOS = ("timm", "torchvision")

IMAGE_SIZES = range(32, 8193)
"""Image sizes that a network of timm or torchvision is built for: they halve an image five times."""

INPUT_DTYPES = ("fp32", "fp16", "bf16", "fp64", "int64", "int32", "bool")


@dataclass(frozen=True, slots=True)
class InputSpec:
    """Shape (batch first) and data type of one input of a network."""

    shape: tuple[int, ...]
    dtype: str = "fp32"

    @classmethod
    def parse(cls, text: str) -> "InputSpec":
        """Read `1,3,224,224` or `1,128:int64`; raise RooflineError for anything else."""
        sizes, _, dtype = text.partition(":")
        try:
            shape = tuple(int(n) for n in sizes.split(","))
        except ValueError:
            shape = ()
        if not shape or any(n < 1 for n in shape) or any(n > 2**31 for n in shape):
            raise RooflineError(f"bad input {text!r}; write positive sizes with the batch first, such as 1,3,224,224 or 1,128:int64")
        if (dtype or "fp32") not in INPUT_DTYPES:
            raise RooflineError(f"bad input {text!r}: unknown data type {dtype!r}; use one of {', '.join(INPUT_DTYPES)}")
        return cls(shape, dtype or "fp32")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Everything that decides which network is built and what it is fed: the key of a traced graph.

    *inputs* overrides *image_size* and *in_chans*; an *image_size* of None means the network's own.
    """

    name: str
    image_size: int | None = None
    in_chans: int | None = None
    inputs: tuple[InputSpec, ...] = ()

    @property
    def runs_user_code(self) -> bool:
        """Tell whether building this network runs a file or module named by the user."""
        source, separator, _ = self.name.rpartition(":")
        return bool(separator) and source not in ZOOS

    @property
    def file(self) -> Path | None:
        """The exported program this spec names, if it is one."""
        return Path(self.name) if self.name.endswith(".pt2") else None

    def check(self) -> None:
        """Raise RooflineError for sizes no network takes."""
        if not self.name:
            raise RooflineError("the model has no name; give one such as efficientnet_b3 (`roofline models` lists them)")
        zoo = not self.runs_user_code and self.file is None
        if self.image_size is not None and (self.image_size < 1 or (zoo and self.image_size not in IMAGE_SIZES)):
            low, high = IMAGE_SIZES.start, IMAGE_SIZES.stop - 1
            raise RooflineError(f"bad image size {self.image_size}: {self.name} takes square images of {low} to {high} pixels a side")
        if self.in_chans is not None and not 1 <= self.in_chans <= 65536:
            raise RooflineError(f"bad number of input channels {self.in_chans}; use 1 to 65536")


@dataclass(frozen=True, slots=True)
class BuiltModel:
    """A module with its example inputs on the meta device.

    *trusted* networks need no second trace to check the batch; *fixed* ones run at their own batch size only.
    """

    module: "torch.nn.Module"
    inputs: "tuple[torch.Tensor, ...]"
    trusted: bool
    fixed: bool = False


def make_inputs(specs: Sequence[InputSpec]) -> "tuple[torch.Tensor, ...]":
    """Make an empty meta tensor for each spec."""
    import torch

    from roofline.tracing.trace import DTYPE_NAMES

    dtypes = {name: dtype for dtype, name in reversed(DTYPE_NAMES.items())}
    return tuple(torch.empty(s.shape, dtype=dtypes[s.dtype], device="meta") for s in specs)
