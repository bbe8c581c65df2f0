"""What smaller types, pruning, sparsity, a smaller student and another architecture save at most, on each device."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from roofline.costmodel.analysis import Analysis
from roofline.costmodel.hardware import load_hardware
from roofline.errors import UnsupportedError
from roofline.studies import accuracy
from roofline.studies.families import CURATED
from trials.networks import ALL, BATCHES, CPUS, DEVICES, GPUS, family, native, priced
from trials.spread import ratio
from trials.verdict import Bar, Case, Claim, Estimate, Part, Table

WORTH = Bar(least=1.5)
TEACHERS = {"efficientnet_b3": "efficientnet_b0", "resnet50": "resnet18"}
"""Networks that are made faster, and the smaller one of the family that could learn from each."""


@dataclass(frozen=True, slots=True)
class Step:
    """One way to make a network faster: what-ifs, or another *precision*; *asks* says what it takes."""

    name: str
    asks: str
    what_if: tuple[str, ...] = ()
    precision: str = "half"


STEPS = (
    Step("int8", "calibration on data", precision="int8"),
    Step("int4 weights", "kernels that widen weights", ("weights=int4",)),
    Step("half of all channels pruned", "training again", ("prune=0.5",)),
    Step("90 % of weights zero, unstructured", "training again; stored compressed, no arithmetic skipped", ("sparse-weights=0.9",)),
    Step("2:4 weights", "training again; units for it", ("sparse=2:4",)),
    Step("half of what ReLUs write zero", "hardware that skips zeros: a bound", ("sparse-activations=0.5",)),
)

STUDENT = "a smaller student"
SEARCH = "another architecture, as accurate"


def claim(names: Sequence[str] = ALL) -> Claim:
    """Try whether each step makes a network 1.5 times as fast that already runs in half precision in an engine."""
    found = {step: _cases(step) for step in (s.name for s in STEPS)}
    found[STUDENT] = tuple(c for teacher, student in TEACHERS.items() for c in _against(teacher, lambda *_, s=student: s))
    best = _winners((*dict.fromkeys((*names, *TEACHERS, *TEACHERS.values())),))
    found[SEARCH] = tuple(c for teacher in TEACHERS for c in _against(teacher, lambda t, d, b: best.get((t, d, b), t)))
    parts = tuple(Part(f"{name}: at least 1.5 times as fast", "speed, after / before", WORTH, cases, "6a") for name, cases in found.items())
    return Claim(
        "Making a network smaller",
        "Quantising, pruning, sparsity, distillation and architecture search make networks much faster: each by a factor of 1.5 at least.",
        "a common expectation; the factor of 1.5 is set here",
        parts,
        (_table(found), _architectures(best), _needs()),
        tuple(_says(found)),
    )


def _base(network: str) -> dict[tuple[str, int], Analysis]:
    """The network in half precision where the device has it, in an engine: what can be had without changing it."""
    return {(a.hardware.id, a.batch): a for a in priced(network, DEVICES, mode="engine", precision="half")}


def _cases(name: str) -> tuple[Case, ...]:
    step = next(s for s in STEPS if s.name == name)
    found: list[Case] = []
    for network in TEACHERS:
        base = _base(network)
        for device in DEVICES:
            if step.name == "2:4 weights" and not load_hardware(device).sparsity_2_4:
                continue
            try:
                after = priced(network, (device,), mode="engine", precision=step.precision, what_if=step.what_if)
            except UnsupportedError:
                continue
            found += [_case(network, base[device, a.batch], a) for a in after]
    return tuple(found)


def _case(network: str, before: Analysis, after: Analysis) -> Case:
    same = abs(before.latency / after.latency - 1) < 1e-9
    estimate = Estimate.exact(1.0) if same else ratio(before, after)
    return Case({"network": network, "device": before.hardware.id, "batch": str(before.batch)}, estimate)


def _against(teacher: str, other: Callable[[str, str, int], str]) -> Iterator[Case]:
    """Compare *teacher* with another network, which may differ from device to device."""
    for (device, batch), before in _base(teacher).items():
        name = other(teacher, device, batch)
        after = _base(name)[device, batch] if name != teacher else before
        yield _case(teacher, before, after)


def _winners(names: Sequence[str]) -> dict[tuple[str, str, int], str]:
    """The fastest known network that is as accurate as each teacher, by device and batch, run as the teacher is."""
    found: dict[tuple[str, str, int], str] = {}
    for group, precision in ((GPUS, "fp16"), (CPUS, "fp32")):
        zoo = family(tuple(names), "engine", group, precision)
        for teacher in TEACHERS:
            enough = [m for m in zoo.members if _published(m.entry.name) >= _published(teacher)]
            for i, a in enumerate(enough[0].analyses):
                found[teacher, a.hardware.id, a.batch] = min(enough, key=lambda m: m.analyses[i].latency).entry.name
    return found


def _table(found: dict[str, tuple[Case, ...]]) -> Table:
    rows: list[tuple[str, ...]] = []
    for network in TEACHERS:
        for name, cases in found.items():
            here = {(c.at["device"], c.at["batch"]): c.estimate for c in cases if c.at["network"] == network}
            for batch in map(str, BATCHES):
                cells = (f"{e} {WORTH.judge(e)}" if (e := here.get((device, batch))) else "-" for device in DEVICES)
                rows.append((network, name, batch, *cells))
    base = "; ".join(f"{device} {native(load_hardware(device))}" for device in DEVICES)
    return Table(f"6a. Speed after each step over that before; the bar: {WORTH}", ("network", "step", "batch", *DEVICES), rows,
                 f"Before: an engine, {base}. A dash: the device has no units for it. Accuracy is not predicted.")  # fmt: skip


def _architectures(best: dict[tuple[str, str, int], str]) -> Table:
    rows = [
        (teacher, device, *(f"{name} ({_published(name):.1f})" for batch in BATCHES for name in (best[teacher, device, batch],)))
        for teacher in TEACHERS for device in DEVICES
    ]  # fmt: skip
    told = ", ".join(f"{name} {_published(name):.1f}" for name in TEACHERS)
    return Table("6b. The fastest of the known networks that is at least as accurate, with its published top-1",
                 ("in place of", "device", *(f"batch {b}" for b in BATCHES)), rows,
                 f"Published top-1: {told}. Later networks were trained by later recipes, which raise accuracy too.")  # fmt: skip


def _needs() -> Table:
    rows = [(step.name, step.asks) for step in STEPS]
    told = ", ".join(
        f"{student} ({_published(student):.1f}) for {teacher} ({_published(teacher):.1f})" for teacher, student in TEACHERS.items()
    )
    rows += [(STUDENT, f"training with a teacher, which would have to make up for the published top-1: {told}"),
             (SEARCH, "training; the search is over published networks only, so a search of one's own may find more")]  # fmt: skip
    return Table("6c. What each step takes", ("step", "takes"), rows)


def _published(name: str) -> float:
    """Top-1 of a network of CURATED, in percent."""
    return next(accuracy.by_weights()[weights, px].top1 for members in CURATED.values() for n, weights, px in members if n == name)


def _says(found: dict[str, tuple[Case, ...]]) -> Iterator[str]:
    for name, cases in found.items():
        own = [c for c in cases if c.at["network"] == "efficientnet_b3"]
        low, high = (end(own, key=lambda c: c.estimate.value) for end in (min, max))
        yield (f"{name}: {low.estimate.value:.2f} times as fast ({low.at['device']}, batch {low.at['batch']}) to "
               f"{high.estimate.value:.2f} ({high.at['device']}, batch {high.at['batch']}) on EfficientNet-B3")  # fmt: skip
