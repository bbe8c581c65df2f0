"""What a search proposes: networks of an architecture space, or of a function of the user's, each with a way to its graph."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from roofline.errors import RooflineError
from roofline.graph import Graph
from roofline.studies.space import ArchitectureSpace, load_space, space_of
from roofline.tracing.architecture import Architecture
from roofline.tracing.mbconv import Blocks, build, load, trace_whole
from roofline.tracing.source import several, trace
from roofline.tracing.spec import InputSpec

if TYPE_CHECKING:
    import torch
    from optuna.trial import BaseTrial

IMAGE_SIZE = 224
"""Pixels a side of what a function's networks are fed, unless told."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A network that a trial proposes: what it chose, the network in one line, its graph at a batch size, and itself.

    *counts* are its parameters and MACs of one image where they are known without tracing. *build* gives the module on a device,
    with random weights unless that is `meta`.
    """

    parameters: Mapping[str, Any]
    label: str
    graph: Callable[[int], Graph]
    build: "Callable[[str], torch.nn.Module]"
    counts: tuple[int, int] | None = None
    architecture: Architecture | None = None


class Source(Protocol):
    """Where candidates come from; *description* is the same only for the same source, *size* counts its networks where that is known."""

    @property
    def name(self) -> str:
        """What a reader calls it."""
        ...

    @property
    def size(self) -> int | None:
        """Count the networks that it can propose."""
        ...

    @property
    def description(self) -> str:
        """Tell it from every other source."""
        ...

    @property
    def effort(self) -> tuple[int, int]:
        """Kinds of block that were traced, and blocks that were made of them."""
        ...

    def prepare(self) -> None:
        """Load what builds networks, so that no trial waits for it."""
        ...

    def propose(self, trial: "BaseTrial") -> Candidate:
        """Let *trial* choose a network."""
        ...


@dataclass(frozen=True, slots=True)
class Architectures:
    """Networks of a space, traced block by block, or whole without *cache*."""

    name: str
    space: ArchitectureSpace
    cache: bool = True
    blocks: Blocks = field(default_factory=Blocks)

    @property
    def size(self) -> int | None:
        """Count the networks in the space."""
        return self.space.size

    @property
    def description(self) -> str:
        """Write all choices as one text."""
        return self.space.description()

    @property
    def effort(self) -> tuple[int, int]:
        """Kinds of block that were traced, and blocks that were made of them."""
        return self.blocks.traced, self.blocks.made + self.blocks.reused

    def prepare(self) -> None:
        """Import PyTorch and timm."""
        load()

    def propose(self, trial: "BaseTrial") -> Candidate:
        """Let *trial* choose an architecture."""
        found = self.space.propose(trial)

        def graph(batch: int) -> Graph:
            return self.blocks.graph(found, batch) if self.cache else trace_whole(found).with_batch(batch)

        return Candidate(dict(trial.params), str(found), graph, lambda device: build(found, device), (found.params, found.macs), found)


@dataclass(frozen=True, slots=True)
class Functions:
    """Networks that a function of the user's builds from a trial; each is traced whole."""

    name: str
    function: "Callable[[BaseTrial], torch.nn.Module]"
    inputs: tuple[InputSpec, ...]

    @property
    def size(self) -> int | None:
        """Nobody knows what a function may build."""
        return None

    @property
    def description(self) -> str:
        """Name the function and what its networks are fed."""
        return f"{self.name} on {', '.join(f'{spec.shape} {spec.dtype}' for spec in self.inputs)}"

    @property
    def effort(self) -> tuple[int, int]:
        """Each network is traced whole."""
        return 0, 0

    def prepare(self) -> None:
        """The function is loaded already."""

    def propose(self, trial: "BaseTrial") -> Candidate:
        """Run the function, which chooses while it builds."""
        from roofline.tracing.models import user_module

        def make(device: str) -> "torch.nn.Module":
            try:
                return user_module(lambda: self.function(trial), self.name, device)
            except SystemExit as error:
                raise RooflineError(f"{self.name} failed: its code called exit({error.code!r}); guard that with __name__") from error

        module = make("meta")
        chosen = dict(trial.params)
        label = ", ".join(f"{name} {value}" for name, value in chosen.items())
        return Candidate(chosen, label, lambda batch: _at(trace(module, inputs=self.inputs), batch), make)


def _at(graph: Graph, batch: int) -> Graph:
    return graph if graph.batch is None else graph.with_batch(batch)


def source_of(space: Any, *, image_size: int | None = None, inputs: Sequence[str | InputSpec] = (), cache: bool = True) -> Source:
    """Take what a caller names as a space: a YAML file, `path/net.py:function`, a mapping, an ArchitectureSpace or a function."""
    specs = tuple(InputSpec.parse(i) if isinstance(i, str) else i for i in several(inputs))
    if isinstance(space, str) and (":" in space and not space.lower().endswith((".yaml", ".yml"))):
        from roofline.tracing.models import load_function

        return Functions(space, load_function(space), specs or _image(image_size))
    if callable(space):
        function: Any = space
        return Functions(getattr(space, "__name__", "the function"), function, specs or _image(image_size))
    if image_size is not None or specs:
        raise RooflineError("an image size or inputs have no part in a space of architectures; give its field `resolution` choices")
    if isinstance(space, ArchitectureSpace):
        return Architectures("the space", space, cache)
    if isinstance(space, Mapping):
        return Architectures("the space", space_of(space), cache)
    if isinstance(space, str | Path):
        return Architectures(Path(space).name, load_space(space), cache)
    raise RooflineError(f"cannot search a {type(space).__name__}; give a YAML file, path/net.py:function, a mapping or a function")


def _image(size: int | None) -> tuple[InputSpec, ...]:
    size = IMAGE_SIZE if size is None else size
    if not 1 <= size <= 8192:
        raise RooflineError(f"bad image size {size}; use 1 to 8192 pixels a side")
    return (InputSpec((1, 3, size, size)),)
