"""Say what a sweep asks for: which networks, on which devices, at which batch sizes and in which ways."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import roofline
from roofline.costmodel.analyze import check_request
from roofline.costmodel.device import Hardware
from roofline.errors import RooflineError, UnknownNameError
from roofline.studies.setting import ALL, devices
from roofline.tracing import cache
from roofline.tracing.source import several
from roofline.tracing.spec import ModelSpec
from roofline.transforms.changes import parse_changes
from roofline.transforms.modes import check_layout
from roofline.transforms.precision import check_precision

SCHEMA = 1
"""Version of the table's columns; raised whenever one changes its meaning."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way of running networks: by whom, in which order images lie in memory, and in which precision."""

    mode: str
    layout: str
    precision: str


@dataclass(frozen=True)
class Request:
    """Everything that decides the rows of a sweep, but for its networks; *image_size* of None is each network's own."""

    hardware: tuple[Hardware, ...]
    batches: tuple[int, ...]
    precisions: tuple[str, ...]
    modes: tuple[str, ...]
    layouts: tuple[str, ...]
    changes: tuple[str, ...] = ()
    image_size: int | None = None
    calibrated: bool = True

    @property
    def ways(self) -> tuple[Way, ...]:
        """Every way of running, in the order of the rows."""
        return tuple(Way(*each) for each in product(self.modes, self.layouts, self.precisions))

    @property
    def rows(self) -> int:
        """Rows that each network has."""
        return len(self.ways) * len(self.hardware) * len(self.batches)

    @cached_property
    def digest(self) -> str:
        """Hash of everything here, of the devices down to each figure, and of the version of this package."""
        return hashlib.sha256(repr((SCHEMA, roofline.__version__, self)).encode()).hexdigest()[:32]

    def key(self, model: str) -> str | None:
        """Name under which the rows of *model* can be kept; None for code of the user's own, which may change unseen."""
        return None if ModelSpec(model).runs_user_code else cache.key(model, "sweep", self.digest)


def ask(
    hardware: str | Hardware | Sequence[str | Hardware] = ALL,
    *,
    batches: Sequence[int] = (1,),
    precisions: Sequence[str] = ("fp32",),
    modes: Sequence[str] = ("eager",),
    layouts: Sequence[str] = ("nchw",),
    what_if: Sequence[str] = (),
    image_size: int | None = None,
    calibrated: bool = True,
) -> Request:
    """Check what is asked for, before any network is traced; raise RooflineError for what no network could be priced with.

    A device that lacks a precision is no mistake: its rows will say so.
    """
    asked = (several(batches), several(precisions), several(modes), several(layouts))
    if not all(asked):
        raise RooflineError("nothing to sweep; give at least one batch size, precision, mode and layout")
    batches, precisions, modes, layouts = (tuple(dict.fromkeys(values)) for values in asked)
    found, changes = devices(several(hardware)), several(what_if)
    for precision in precisions:
        check_precision(precision)
    for mode, layout in product(modes, layouts):
        check_request(found, batches, (), mode, layout)
    parse_changes(changes)
    return Request(found, batches, precisions, modes, tuple(map(check_layout, layouts)), changes, image_size, calibrated)


def expand(models: str | Sequence[str]) -> tuple[str, ...]:
    """List the networks that *models* name, each once: names as `analyze` takes them, and shell patterns of names of the zoos.

    Raises UnknownNameError for a pattern or a name that no zoo has, before anything slow begins.
    """
    found = tuple(dict.fromkeys(name for model in several(models) for name in _named(model)))
    if not found:
        raise RooflineError("no network to sweep; name one, such as efficientnet_b0, or a pattern, such as 'resnet*'")
    return found


def _named(model: str) -> Iterator[str]:
    from roofline.tracing.models import names, resolve

    spec = ModelSpec(model)
    spec.check()
    if spec.runs_user_code or spec.file is not None:
        yield model
    elif any(sign in model for sign in "*?["):
        if not (matching := names(model)):
            raise UnknownNameError(f"no model matches {model!r}; `roofline models` lists all")
        yield from matching
    else:
        resolve(model)
        yield model
