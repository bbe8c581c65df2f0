"""Follow what a process holds while a network runs on a CPU, and what it asks of the system: memory that must be cleared first.

glibc's malloc asks the system for a tensor of its own where it is larger than a threshold, and else grows a heap. It gives memory back
in between, by two rules: a tensor of its own when it is freed, which raises the threshold to its size; the end of the heap
when more than twice the threshold lies free there. What was given back is asked for anew in the next call.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np

from roofline.cost import KINDS
from roofline.costmodel.columns import Columns, Floats
from roofline.transforms.modes import Layout, Mode
from roofline.units import BITS

SMALLEST, LARGEST = 2.0**17, 2.0**25
"""Bytes between which the threshold lies that decides where a tensor goes (mallopt(3), M_MMAP_THRESHOLD, on 64-bit systems)."""

PAD = 2.0**17
"""Bytes at the end of the heap that are not given back (mallopt(3), M_TOP_PAD)."""

PAGE = 4096.0

CALLS = 3
"""Runs of the network until all are alike: the first raises the threshold, the second begins with it."""

BLOCK = 16
"""Channels of a block in oneDNN's layout for AVX-512; an image of fewer is read where it lies."""

_CONVOLUTIONS = np.array([kind in ("conv", "pointwise conv", "depthwise conv", "grouped conv") for kind in KINDS])
_POINTWISE, _DEPTHWISE = KINDS.index("pointwise conv"), KINDS.index("depthwise conv")


@dataclass(frozen=True, slots=True)
class Process:
    """Who asks for memory: PyTorch on a CPU, in this mode and layout, in a process that runs one network again and again."""

    mode: Mode
    layout: Layout


@dataclass(frozen=True, slots=True)
class Step:
    """One request for memory, or its end: the kernel that makes it, and the slot that it fills or frees."""

    kernel: int
    slot: int
    taken: bool


@dataclass(slots=True)
class Script:
    """Requests of a whole network in order, and the bytes of every slot at each batch."""

    steps: dict[int, Step] = field(default_factory=dict)
    sizes: list[Floats] = field(default_factory=list)
    _slot_of: dict[Hashable, int] = field(default_factory=dict)
    _freed: dict[bytes, list[int]] = field(default_factory=dict)
    _next: int = 0

    def take(self, kernel: int, name: Hashable, nbytes: Floats) -> None:
        """Ask for *nbytes* at each batch."""
        self._slot_of[name] = len(self.sizes)
        self.sizes.append(nbytes)
        self._add(Step(kernel, self._slot_of[name], taken=True))

    def reuse(self, kernel: int, name: Hashable, nbytes: Floats) -> None:
        """Write to memory of the same size that was freed before, and is held for it instead; ask for some where there is none."""
        if held := self._freed.get(nbytes.tobytes()):
            self._slot_of[name] = self.steps.pop(held.pop()).slot
        else:
            self.take(kernel, name, nbytes)

    def hand_on(self, name: Hashable, heir: Hashable) -> None:
        """Let *heir* take over the memory of *name*."""
        self._slot_of[heir] = self._slot_of.pop(name)

    def free(self, kernel: int, name: Hashable, *, planned: bool = False) -> None:
        """Give memory back to the allocator; where *planned*, a later request of the same size may have it instead."""
        slot = self._slot_of.pop(name)
        if planned:
            self._freed.setdefault(self.sizes[slot].tobytes(), []).append(self._next)
        self._add(Step(kernel, slot, taken=False))

    def _add(self, step: Step) -> None:
        self.steps[self._next] = step
        self._next += 1


def asked_anew(columns: Columns, process: Process) -> Floats:
    """Bytes that each kernel writes to memory which the system has just given, call after call: (batches, kernels)."""
    script = _eager(columns, process.layout) if process.mode == "eager" else _compiled(columns)
    found, steps = np.zeros((len(columns.batches), columns.size)), list(script.steps.values())
    for row, sizes in zip(found, np.array(script.sizes).reshape(-1, len(found)).T.tolist(), strict=True):
        _run(steps, sizes, row)
    return found


def filters(columns: Columns) -> Floats:
    """Bytes of the weights of every convolution, whether they are stored or computed: (batches, kernels)."""
    width = np.array([BITS[dtype] / 8 for dtype in columns.matrix_dtype])
    return columns.groups * columns.columns * columns.depth * width * _CONVOLUTIONS[columns.kind]


def _run(steps: Sequence[Step], sizes: Sequence[float], found: Floats) -> None:
    """Add to *found*, by kernel, what a call asks of the system once all calls are alike."""
    threshold, live, held = SMALLEST, 0.0, 0.0
    for call in range(CALLS):
        alone: set[int] = set()  # slots that have memory of their own
        for step in steps:
            size = sizes[step.slot]
            if step.taken:
                missing = live + size - held
                if missing > 0:
                    if size >= threshold:
                        alone.add(step.slot)
                        missing = size
                    else:
                        held += missing
                    if call == CALLS - 1:
                        found[step.kernel] += missing
                if step.slot not in alone:
                    live += size
            elif step.slot in alone:
                alone.remove(step.slot)
                if threshold < (raised := (size // PAGE + 1) * PAGE) <= LARGEST:
                    threshold = raised
            else:
                live -= size
                if held - live > 2 * threshold:
                    held = live + PAD


def _eager(columns: Columns, layout: Layout) -> Script:
    """List what eager PyTorch asks for: results, and for the time of a convolution the blocked copies that oneDNN makes.

    It blocks the weights, and in `nchw` the image and the result too: so the page faults of single convolutions say.
    """
    script, (born, freed) = Script(), _by_kernel(columns)
    weights, channels = filters(columns), columns.groups[0] * columns.depth[0] / np.maximum(columns.taps[0], 1)
    images = columns.input_bytes - np.maximum(weights - columns.weight_bytes, 0.0)  # weights may have been computed
    for kernel in range(columns.size):
        for root in born[kernel]:
            script.take(kernel, root, columns.storage_bytes[:, root])
        copies: list[Floats] = []
        if _CONVOLUTIONS[columns.kind[kernel]]:
            copies = [weights[:, kernel]]
            if layout == "nchw":
                copies += [columns.output_bytes[:, kernel], *([images[:, kernel]] if channels[kernel] >= BLOCK else [])]
        for i, nbytes in enumerate(copies):
            script.take(kernel, ("copy", i), nbytes)
        for i in range(len(copies)):
            script.free(kernel, ("copy", i))
        for root in freed[kernel]:
            script.free(kernel, root)
    return script


def _compiled(columns: Columns) -> Script:
    """List what code of torch.compile asks for: results, the weights of wider windows turned to channels-last, and their blocked copies.

    A kernel that it generates overwrites what is read for the last time, or writes to memory that was held for it.
    """
    script, (born, freed) = Script(), _by_kernel(columns)
    weights, sizes = filters(columns), columns.storage_bytes
    for kernel in range(columns.size):
        dying = [root for root in freed[kernel] if root not in born[kernel]]
        passing: list[Hashable] = [root for root in freed[kernel] if root in born[kernel]]
        if _CONVOLUTIONS[columns.kind[kernel]]:
            turned = ["turned"] if columns.kind[kernel] not in (_POINTWISE, _DEPTHWISE) else []
            for name in turned:
                script.reuse(kernel, name, weights[:, kernel])
            for root in born[kernel]:
                script.take(kernel, root, sizes[:, root])
            script.take(kernel, "copy", weights[:, kernel])
            script.free(kernel, "copy")
            passing += turned
        else:
            for root in born[kernel]:
                old = next((old for old in dying if (sizes[:, old] == sizes[:, root]).all()), None)
                if old is None:
                    script.reuse(kernel, root, sizes[:, root])
                else:
                    dying.remove(old)
                    script.hand_on(old, root)
        for name in (*dying, *passing):
            script.free(kernel, name, planned=True)
    return script


def _by_kernel(columns: Columns) -> tuple[list[list[int]], list[list[int]]]:
    """Positions of the storages that each kernel is the first to touch, and the last: what is passed in was asked for before."""
    lives = columns.lives
    born: list[list[int]] = [[] for _ in range(columns.size)]
    freed: list[list[int]] = [[] for _ in range(columns.size)]
    for root in range(lives.given, len(lives.roots)):
        born[int(lives.first[root])].append(root)
        freed[min(int(lives.last[root]), columns.size - 1)].append(root)
    return born, freed
