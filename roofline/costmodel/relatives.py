"""Choose the calibration of a prediction: the device's own, else that of its nearest measured relatives."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from roofline.costmodel.calibration import PRODUCTS, Calibration, blend, neutral
from roofline.costmodel.device import Hardware
from roofline.costmodel.hardware import bundled_folder
from roofline.transforms.modes import Layout, Mode

GENERATIONS = ("pascal", "volta", "turing", "ampere", "ada", "blackwell")
"""NVIDIA architectures in order. Hopper stands beside Ada."""

SEGMENT_DISTANCE = 2.0
"""Generations by which a card for data centres and one for consumers or workstations of the same generation differ."""

YEAR_DISTANCE = 0.5
"""Generations that a year between releases of libraries stands for: NVIDIA brings a new generation of GPUs about every two years."""

NEAREST_DISTANCE = 1.0
"""Distance of CPUs of different architectures: nothing orders them."""


@dataclass(frozen=True, slots=True)
class Kin:
    """What decides how near a device is to others."""

    id: str
    kind: str
    architecture: str
    segment: str
    clock: float


FALLBACK: dict[Mode, tuple[Mode, ...]] = {
    "eager": ("eager", "compiled", "engine"),
    "compiled": ("compiled", "eager", "engine"),
    "engine": ("engine", "compiled", "eager"),
    "ideal": ("engine", "compiled", "eager"),
}
"""Modes whose parameters serve each mode, the nearest first."""


COMPILED: Layout = "nhwc"
"""Layout in which torch.compile lays out the images of most convolutional networks on a GPU, whatever it is given: see
`layout_optimization` in torch/_inductor/config.py."""


def calibration_for(hardware: Hardware, mode: Mode, layout: Layout, known: Sequence[Calibration] | None = None) -> Calibration:
    """Return the parameters for *hardware* in *mode* and *layout*, out of those *known* (by default the published ones).

    Its own come first, those of its profile before the known ones. A device never measured so takes the geometric mean of
    all devices of its kind that were, each weighted by `2 ** -distance`, older releases of libraries less; *relatives* then names them,
    nearest first. On GPUs that holds for the cycles in which a kernel starts and ends, too, in whatever mode they were found, but those
    come from the newest release alone. What an op costs a host is not borrowed. Nobody measures `ideal`: it takes the parameters of
    `engine`; a mode in which no relative was measured those of the next in FALLBACK, on a GPU `compiled` those of `eager` as COMPILED
    and `_generated` tell. Without any, efficiencies are 1.
    """
    kin = Kin(hardware.id, hardware.kind, hardware.architecture, hardware.segment, hardware.clock)
    if known is None and not hardware.calibrations:
        return _published_for(kin, mode, layout)
    return _choose(kin, mode, layout, hardware.calibrations, published() if known is None else known)


@lru_cache(maxsize=512)
def _published_for(kin: Kin, mode: Mode, layout: Layout) -> Calibration:
    return _choose(kin, mode, layout, (), published())


def _choose(kin: Kin, mode: Mode, layout: Layout, own: Sequence[Calibration], known: Sequence[Calibration]) -> Calibration:
    own = (*own, *(c for c in known if kin.id in c.devices))
    for wanted in FALLBACK[mode]:
        compiling = (kin.kind, mode, wanted) == ("gpu", "compiled", "eager")
        lies: Layout = COMPILED if compiling else layout
        mine = [c for c in own if _fits(c, wanted, lies)]
        pool = [c for c in known if c.kind == kin.kind and c.measured and _fits(c, wanted, lies)]
        if compiling:
            mine, pool = [_generated(c) for c in mine], [_generated(c) for c in pool]
        newest = max((c.released for c in pool), default=0)
        pairs = sorted(((c, 2.0 ** -(distance(c, kin) + _age(c, newest))) for c in pool), key=lambda pair: -pair[1])
        if mine and wanted == FALLBACK[mode][0]:
            return replace(mine[0], mode=mode)
        if mine:
            return _elsewhere(mine[0], mode, mine[0].devices[:1], kin)
        if pool:
            names = tuple(dict.fromkeys(c.devices[0] if c.devices else c.architecture for c, _ in pairs))
            started = blend([pair for pair in pairs if not _age(pair[0], newest)])
            blended = replace(blend(pairs), launch=started.launch, clock=started.clock)
            return replace(_elsewhere(blended, mode, names, kin), samples=sum(c.samples for c in pool))
    return neutral(mode)


def _generated(eager: Calibration) -> Calibration:
    """Take *eager* parameters to torch.compile, which calls the same products, and generates all other kernels.

    What it generates for a GPU reads and writes in order, whatever the op: each class reaches what elementwise kernels do, if not more.
    (The code that it generates for a CPU does not: the i9, predicted by what eager PyTorch reaches on an EPYC, came out worse so.)
    """
    stream = eager.memory.get("elementwise", 0.0)
    return replace(eager, memory={name: share if name in PRODUCTS else max(share, stream) for name, share in eager.memory.items()})


def _elsewhere(calibration: Calibration, mode: Mode, relatives: tuple[str, ...], kin: Kin) -> Calibration:
    """Take *calibration* to another device or mode, where it is as wrong as it was found to be there.

    A kernel of a GPU starts and ends in as many cycles there, as an empty one does: 3,670 on an A100, 3,650 on an A40 (see the profile of
    the T4).
    """
    launch = calibration.launch
    if launch and calibration.clock:
        launch *= calibration.clock / kin.clock
    return replace(
        calibration,
        mode=mode,
        devices=(),
        relatives=relatives,
        spread=calibration.elsewhere,
        launch=launch if calibration.kind == "gpu" else None,
        clock=None,
        host_op=None,
    )


def distance(calibration: Calibration, kin: Kin) -> float:
    """Count generations between two GPUs, and SEGMENT_DISTANCE more where one of them is made for data centres; for CPUs, 0 or 1."""
    if kin.kind == "cpu":
        return NEAREST_DISTANCE * (calibration.architecture != kin.architecture)
    crossed = (calibration.segment == "datacenter") != (kin.segment == "datacenter")
    return abs(_generation(calibration.architecture) - _generation(kin.architecture)) + SEGMENT_DISTANCE * crossed


def _age(calibration: Calibration, newest: int) -> float:
    """Count the years by which its libraries are older than the *newest*, as generations; none where they are unknown."""
    return YEAR_DISTANCE * (newest - calibration.released) if calibration.released else 0.0


def _generation(architecture: str) -> int:
    name = "ada" if architecture == "hopper" else architecture
    return GENERATIONS.index(name) if name in GENERATIONS else len(GENERATIONS)


def _fits(calibration: Calibration, mode: str, layout: Layout) -> bool:
    return calibration.mode == mode and calibration.layout in (None, layout)


@lru_cache(maxsize=1)
def published() -> tuple[Calibration, ...]:
    """Return the calibrations that come with the package: fitted to published tables, and by `roofline calibrate`."""
    paths = sorted((bundled_folder() / "calibration").glob("*.yaml"))
    if not paths:
        return ()
    from roofline.costmodel.profile.calibrations import read_calibrations

    return tuple(calibration for path in paths for calibration in read_calibrations(path))
