"""Price any network in one way of running: what every study asks for again and again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from roofline.costmodel.analysis import Analysis
from roofline.costmodel.analyze import analyze_grid, check_request
from roofline.costmodel.device import Hardware
from roofline.costmodel.hardware import load_hardware, names
from roofline.errors import RooflineError
from roofline.tracing.source import several, trace

if TYPE_CHECKING:
    from roofline.tracing.source import Model

Tell = Callable[[str, float], None]
"""Told what is being done and which share is done."""

ALL = "all"


def quiet(_what: str, _share: float) -> None:
    """Tell nobody."""


def devices(given: Sequence[str | Hardware]) -> tuple[Hardware, ...]:
    """Load each of the *given* devices once; `all` stands for every profile."""
    wanted = [name for item in several(given) for name in (names() if item == ALL else (item,))]
    found = {device.id: device for device in map(load_hardware, wanted)}
    if not found:
        raise RooflineError("no device to study; name one, such as t4, or all")
    return tuple(found.values())


@dataclass(frozen=True, slots=True)
class Setting:
    """The way in which networks are run and priced, the same for all of a study; batches are its columns."""

    batches: tuple[int, ...] = (1,)
    precision: str = "fp32"
    mode: str = "eager"
    layout: str = "nchw"
    calibrated: bool = True
    cache: bool = True

    def check(self, hardware: Sequence[Hardware]) -> None:
        """Raise RooflineError for what no network could be priced with, before one is traced."""
        if not self.batches:
            raise RooflineError("no batch size to study; give at least one")
        check_request(hardware, self.batches, (self.precision,), self.mode, self.layout)

    def price(self, model: "Model", hardware: Sequence[Hardware], image_size: int | None = None) -> tuple[Analysis, ...]:
        """Analyze *model* on every device at every batch size, in that order of nesting, through the cache of graphs."""
        graph = trace(model, image_size=image_size, cache=self.cache)
        return analyze_grid(
            graph, hardware, self.batches, precisions=(self.precision,), mode=self.mode, layout=self.layout, calibrated=self.calibrated
        )
