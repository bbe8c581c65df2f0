"""Turn a graph into the kernels that an execution mode runs: who executes the network decides what is fused."""

from dataclasses import dataclass
from typing import Literal, get_args

from roofline.errors import UnknownNameError
from roofline.graph import Graph, is_step
from roofline.transforms.compiler import fuse_compiled
from roofline.transforms.fusion import fuse_engine, fuse_ideal
from roofline.transforms.inductor import fuse_generated, prefers_channels_last
from roofline.transforms.ordering import in_channels_last, with_copies
from roofline.transforms.step import execute_step

Mode = Literal["eager", "compiled", "engine", "ideal"]
MODES: tuple[Mode, ...] = get_args(Mode)

Layout = Literal["nchw", "nhwc"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)


@dataclass(frozen=True, slots=True)
class Way:
    """How a network is run: by whom, and in which order its images lie in memory.

    *replayed* launches come from a captured graph, so that no host dispatches op by op or calls an engine. *keeps_memory*
    tells whether the allocator of a CPU keeps what a run frees. *capacity* is the on-chip memory in bytes that mode `ideal` may use;
    None is that of the device.
    """

    mode: Mode
    layout: Layout
    replayed: bool = False
    keeps_memory: bool = False
    capacity: float | None = None


def check_mode(mode: str) -> Mode:
    """Return *mode* if it exists; raise UnknownNameError otherwise."""
    if mode not in MODES:
        raise UnknownNameError(f"unknown mode {mode!r}; use one of {', '.join(MODES)}")
    return mode


def check_layout(layout: str) -> Layout:
    """Return *layout* in lower case if it exists; raise UnknownNameError otherwise."""
    lowered = layout.lower()
    if lowered not in LAYOUTS:
        raise UnknownNameError(f"unknown layout {layout!r}; use one of {', '.join(LAYOUTS)}")
    return lowered


def execute(graph: Graph, mode: Mode, capacity: float, layout: Layout | None = None) -> Graph:
    """Group the ops of *graph* into the kernels that *mode* runs.

    `eager` runs one kernel per op (or the kernels a what-if has merged already), and on a GPU, where *layout* tells how images
    enter, one for each copy that an op makes of what it cannot read as it lies; `compiled` fuses pointwise chains, on a GPU as Inductor
    does, which chooses an order of its own;
    `engine` folds batch norms and fuses what follows a product; `ideal` fuses depth first while what a chain keeps in
    flight fits in *capacity* bytes of on-chip memory. A training step is run by the first two only, and
    taken to copy nothing for the order of its images.
    """
    last = layout == "nhwc" or (layout is not None and mode == "compiled" and prefers_channels_last(graph))
    if is_step(graph):
        step = execute_step(graph, mode)
        return in_channels_last(step) if last else step
    if mode == "compiled":
        fused = fuse_compiled(graph) if layout is None else fuse_generated(graph, channels_last=last)
        return in_channels_last(fused) if last else fused
    if mode == "engine":
        return fuse_engine(graph)
    if mode == "ideal":
        return fuse_ideal(graph, capacity)
    return graph if layout is None else with_copies(graph, layout)
