"""Say how much memory a network takes, who holds it at the peak, and which batch still fits."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from roofline import units
from roofline.costmodel.analyze import MAX_BATCH, check_batch
from roofline.costmodel.device import Hardware
from roofline.costmodel.hardware import load_hardware
from roofline.costmodel.memory import Lifetimes, growth, lifetimes, live_bytes, owners, storage_bytes
from roofline.errors import RooflineError, UnsupportedError
from roofline.graph import BACKWARD, FORWARD, Graph, Tensor, phase_of
from roofline.tracing.source import trace
from roofline.transforms.modes import check_mode, execute
from roofline.transforms.precision import to_precision

if TYPE_CHECKING:
    from roofline.tracing.source import Model

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PARTS = (
    "weights",
    "buffers",
    "optimizer state",
    "inputs",
    "activations",
    "kept for backward",
    "gradients of weights",
    "gradients of activations",
    "update",
)
"""What memory may hold at the peak: the first three always, the others as they happen to be alive."""

TRAINABLE = ("fp32", "tf32", "amp", "fp16", "bf16")
"""Precisions in which networks are trained."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that a network takes at its peak, at one batch size: each of PARTS, where the peak is, and who holds it there.

    *kernel* names the op that runs at the peak, *layer* its module and *phase* the phase of a training step. *owners* are layers
    with the bytes of what they made that is alive then, the largest first. *optimizer* is None for an inference. What
    libraries take for workspace, the driver for its context and an allocator for gaps is not included.
    """

    model: str
    batch: int
    precision: str
    mode: str
    optimizer: str | None
    parts: dict[str, float]
    layer: str
    kernel: str
    phase: str
    owners: tuple[tuple[str, float], ...]

    @property
    def total(self) -> float:
        """Bytes at the peak."""
        return sum(self.parts.values())

    @property
    def activations(self) -> float:
        """Bytes at the peak beside weights, buffers and the state of the optimiser."""
        return self.total - sum(self.parts[name] for name in PARTS[:3])

    def fits(self, hardware: str | Path | Hardware | float) -> bool:
        """Tell whether the peak fits in the memory of *hardware*, a device or a size in bytes."""
        return self.total <= capacity(hardware)

    def to_dict(self) -> dict[str, Any]:
        """Return every figure as a plain dictionary, with the unit in each key."""
        return {
            "model": self.model,
            "batch": self.batch,
            "precision": self.precision,
            "mode": self.mode,
            "optimizer": self.optimizer,
            "total_bytes": self.total,
            "activation_bytes": self.activations,
            "parts_bytes": dict(self.parts),
            "peak": {"layer": self.layer, "op": self.kernel, "phase": self.phase},
            "owners": [{"layer": layer, "bytes": size} for layer, size in self.owners],
        }

    def __str__(self) -> str:
        from roofline.studies.memory_text import lines

        return "\n".join(lines(self))


@dataclass(frozen=True)
class Footprint:
    """How the memory of *graph*, grouped into the kernels that *mode* runs, grows with the batch.

    Every tensor is proportional to a power of the batch, so what is alive while a kernel runs is a polynomial with no
    negative coefficient, and so is the peak, which is the largest of them, a function that never falls.
    """

    graph: Graph
    precision: str
    mode: str
    optimizer: str | None

    @classmethod
    def of(cls, graph: Graph, *, precision: str = "fp32", mode: str = "eager", optimizer: str | None = None) -> "Footprint":
        """Follow the memory of *graph* at *precision* in *mode*, which may not be `ideal`: that depends on a device."""
        checked = check_mode(mode)
        if checked == "ideal":
            raise UnsupportedError("memory in mode ideal depends on the caches of a device; use eager, compiled or engine")
        if optimizer is not None and precision not in TRAINABLE:
            raise UnsupportedError(f"cannot train in {precision}; use one of {', '.join(TRAINABLE)}")
        return cls(execute(to_precision(graph, precision), checked, 0.0), precision, mode, optimizer)

    @cached_property
    def lifetimes(self) -> Lifetimes:
        """When each activation is in memory; in eager mode Python's frames hold what modules were called with."""
        return lifetimes(self.graph, called=self.mode == "eager")

    @cached_property
    def live(self) -> Floats:
        """Bytes of the activations alive while each kernel runs, for each power of the batch: (powers, kernels)."""
        return live_bytes(self.lifetimes, storage_bytes(self.lifetimes, self.graph, growth(self.graph)))

    @cached_property
    def constant(self) -> dict[str, float]:
        """Bytes that are there whatever runs: weights, buffers, state of the optimiser."""
        sizes: dict[str, float] = dict.fromkeys(PARTS[:3], 0.0)
        updated = _only_updated(self.graph)
        for t in self.graph.tensors:
            if t.kind in ("weight", "buffer") and t.storage == t.id:
                sizes["weights" if t.kind == "weight" else "optimizer state" if t.id in updated else "buffers"] += t.nbytes * t.density
        return sizes

    def totals(self, batches: Sequence[int] | Ints) -> Floats:
        """Bytes at the peak, at each of *batches*."""
        return sum(self.constant.values()) + self._alive(np.asarray(batches)).max(axis=1)

    def largest(self, capacities: Sequence[float]) -> list[int]:
        """Return the largest batch that fits in each of *capacities*, in bytes: 0 where not even one item does, MAX_BATCH at most."""
        if self.graph.batch is None:
            raise RooflineError(
                f"{self.graph.name or 'this graph'} is fixed at the shapes it was traced with, so no other batch can be tried"
            )
        room = np.asarray(capacities, dtype=np.float64)
        fits, fails = np.zeros(len(room), dtype=np.int64), np.full(len(room), MAX_BATCH + 1, dtype=np.int64)
        while (fails - fits > 1).any():
            middle = (fits + fails) // 2
            enough = self.totals(middle) <= room
            fits, fails = np.where(enough, middle, fits), np.where(enough, fails, middle)
        return [int(batch) for batch in fits]

    def at(self, batch: int) -> Memory:
        """Describe the peak at *batch* items."""
        check_batch(batch, self.graph)
        kernel = int(self._alive(np.array([batch]))[0].argmax())
        ops = [self.graph.ops[i] for i in self.graph.kernels[kernel]]
        main = next((op for op in ops if not self.graph.is_view(op)), ops[0])
        found: dict[str, float] = {}
        for layer, size in owners(self.lifetimes, self.graph, kernel, batch):
            found[layer] = found.get(layer, 0.0) + size
        return Memory(
            model=self.graph.name,
            batch=batch,
            precision=self.precision,
            mode=self.mode,
            optimizer=self.optimizer,
            parts={**self.constant, **self._parts(kernel, batch)},
            layer=main.module or self.graph.name,
            kernel=main.name,
            phase=phase_of(main),
            owners=tuple(sorted(((layer, size) for layer, size in found.items() if size), key=lambda item: -item[1])),
        )

    def _alive(self, batches: Ints) -> Floats:
        """Bytes of the activations alive at each of *batches* while each kernel runs: (batches, kernels)."""
        powers = np.arange(len(self.live)) if self.graph.batch is not None else np.zeros(1)
        return batches.astype(np.float64)[:, None] ** powers @ self.live

    def _parts(self, kernel: int, batch: int) -> dict[str, float]:
        """Bytes of the activations alive while *kernel* runs, by what they are for."""
        found = self.lifetimes
        alive = found.roots[(found.first <= kernel) & (found.last >= kernel)]
        parts: dict[str, float] = {}
        scale = float(batch) ** np.arange(len(self.live))
        sizes = scale @ growth(self.graph)
        returned = {self.graph.tensors[t].storage for t in self.graph.outputs}
        late = {self.graph.tensors[t].storage for op in self.graph.ops if phase_of(op) != FORWARD for t in op.inputs}
        for root in map(int, alive):
            tensor = self.graph.tensors[root]
            name = _part(tensor, self.graph, kept=root in late, returned=root in returned)
            parts[name] = parts.get(name, 0.0) + float(sizes[root]) * units.BITS[tensor.dtype] / 8 * tensor.density
        return {name: parts[name] for name in PARTS if name in parts}


def _only_updated(graph: Graph) -> frozenset[int]:
    """Storages that the forward and the backward pass never touch, and the optimiser does."""
    readers: dict[int, set[str]] = {}
    for op in graph.ops:
        for t in op.inputs:
            readers.setdefault(graph.tensors[t].storage, set()).add(phase_of(op))
    return frozenset(root for root, phases in readers.items() if phases == {"optimizer"})


def _part(tensor: Tensor, graph: Graph, *, kept: bool, returned: bool) -> str:
    maker = graph.producer.get(tensor.id)
    if maker is None:
        return "inputs"
    phase = phase_of(maker)
    if phase == FORWARD:
        return "kept for backward" if kept else "activations"
    if phase == BACKWARD:
        return "gradients of weights" if returned else "gradients of activations"
    return "update"


def capacity(hardware: str | Path | Hardware | float) -> float:
    """Bytes of memory of a device, or of a size such as 11e9 or "11GB"; raise RooflineError for a size that is none."""
    if isinstance(hardware, str) and hardware[:1].isdigit() and hardware.rstrip().upper().endswith("B"):
        try:
            hardware = units.parse(hardware.strip())
        except ValueError as error:
            raise RooflineError(f"bad memory size {hardware!r}; write a number and a unit, such as 11GB or 10.5GiB") from error
    if isinstance(hardware, (int, float)):
        if not 0 < hardware < float("inf"):
            raise RooflineError(f"bad memory size {hardware!r}; give bytes above zero")
        return float(hardware)
    return load_hardware(hardware).memory_size


def footprint(
    model: "Model",
    *,
    optimizer: str | None = None,
    image_size: int | None = None,
    in_chans: int | None = None,
    inputs: Sequence[Any] = (),
    example_inputs: Any = None,
    precision: str = "fp32",
    mode: str = "eager",
    cache: bool = True,
) -> Footprint:
    """Trace *model*, or with an *optimizer* a training step of it, and follow its memory."""
    graph = trace(model, example_inputs, image_size=image_size, in_chans=in_chans, inputs=inputs, optimizer=optimizer, cache=cache)
    return Footprint.of(graph, precision=precision, mode=mode, optimizer=optimizer)


def memory(model: "Model", *, batch: int = 1, optimizer: str | None = None, **options: Any) -> Memory:
    """Predict how much memory *model* takes for *batch* items: its parts at the peak, and which layers hold it.

    With an *optimizer* (`sgd`, `momentum`, `adam`, `adamw`, `rmsprop`) that is a training step: what is kept for the backward
    pass, gradients and state too. *options* are those of `footprint`: precision, mode, image_size, in_chans, inputs, example_inputs, cache.
    """
    return footprint(model, optimizer=optimizer, **options).at(batch)


def largest_batch(model: "Model", hardware: str | Path | Hardware | float, *, optimizer: str | None = None, **options: Any) -> int:
    """Find the largest batch of *model* that fits on *hardware*, a device or a size such as "11GB"; 0 where not even one item does.

    With an *optimizer* it is that of a training step. *options* are those of `footprint`.
    """
    room = capacity(hardware)
    return footprint(model, optimizer=optimizer, **options).largest([room])[0]
