"""Measure how much memory a run holds at its peak, by asking PyTorch which storages are alive after every operator.

Nothing here knows of graphs or lifetimes: it is what predictions of memory are held against.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class PeakMemory(TorchDispatchMode):
    """Count the bytes of every storage that an operator made and something still holds; *peak* is the most at once."""

    def __init__(self, before: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.held = 0  # bytes of *alive*, some of which may have died since
        self.peak = 0
        self._see(before)

    def _see(self, values: Iterable[Any]) -> None:
        for value in values:
            if isinstance(value, torch.Tensor):
                storage = value.untyped_storage()
                if storage._cdata not in self.alive:  # a weak reference keeps the address from being used again
                    self.alive[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
                    self.held += storage.nbytes()
        if self.held > self.peak:
            self.alive = {key: held for key, held in self.alive.items() if not held[0].expired()}
            self.held = sum(size for _, size in self.alive.values())
            self.peak = max(self.peak, self.held)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self._see(tree_leaves(result))
        return result


def tensors_of(module: torch.nn.Module) -> list[torch.Tensor]:
    """List the parameters and buffers of *module*."""
    return [*module.parameters(), *module.buffers()]


def inference_peak(module: torch.nn.Module, x: torch.Tensor) -> int:
    """Bytes at the peak of one inference of *module* on *x*, weights included."""
    with torch.inference_mode(), PeakMemory([*tensors_of(module.eval()), x]) as memory:
        module(x)
    return memory.peak


Stepper = Callable[[Iterable[torch.Tensor]], torch.optim.Optimizer]


def training_peak(module: torch.nn.Module, x: torch.Tensor, make: Stepper) -> int:
    """Bytes at the peak of a second step with the optimiser that *make* gives, on a classifier; weights and state included."""
    stepper = make(module.train().parameters())
    target = torch.zeros(len(x), dtype=torch.int64)

    def step() -> None:
        stepper.zero_grad()
        torch.nn.functional.cross_entropy(module(x), target).backward()
        stepper.step()

    step()
    stepper.zero_grad()
    state = [value for values in stepper.state.values() for value in values.values() if isinstance(value, torch.Tensor)]
    with PeakMemory([*tensors_of(module), *state, x, target]) as memory:
        step()
    return memory.peak
