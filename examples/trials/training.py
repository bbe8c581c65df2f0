"""What fills memory in training: activations beside parameters, and small models that fill a card of 11 GB."""

from collections.abc import Iterator, Sequence
from functools import cache

from roofline import units
from roofline.studies.footprint import Footprint, Memory, footprint
from trials.networks import IMAGE_SIZES
from trials.verdict import Bar, Case, Claim, Estimate, Part, Table

NETWORKS = ("mobilenetv2_100", "efficientnet_b0", "efficientnet_b3", "efficientnet_b7", "resnet50", "densenet121", "vgg16", "convnext_tiny")
BATCHES = (1, 8, 32, 128)
CARD = 11e9
"""Bytes of a common card for training, such as an RTX 2080 Ti."""

SIZE = 110e6
"""Bytes of weights up to which a model is called one of about 100 MB."""

USUAL = 128
"""Images of a training step on one card in many published recipes."""

ERROR = 0.1
"""Share by which memory may be off: what measured peaks are expected to stay within."""

HALF = Bar(least=0.5)


def claim(networks: Sequence[str] = NETWORKS) -> Claim:
    """Try whether activations are more than half of the memory of a training step, and whether small models fill 11 GB."""
    found = {name: [_step(name).at(batch) for batch in BATCHES] for name in networks}
    shares = tuple(Case({"network": name, "batch": str(m.batch)}, share(m)) for name, ms in found.items() for m in ms)
    small = [name for name, ms in found.items() if ms[0].parts["weights"] <= SIZE]
    fills = tuple(
        Case({"network": name, "batch": str(m.batch)}, Estimate(m.total / CARD, m.total * (1 - ERROR) / CARD, m.total * (1 + ERROR) / CARD))
        for name in small for m in found[name] if m.batch == USUAL
    )  # fmt: skip
    return Claim(
        "Memory in training",
        "Most of the memory that training takes is activations, not parameters: a model of 100 MB fills 11 GB.",
        "a common experience; 11 GB are those of a common card",
        (
            Part("activations are more than half", "share of activations in the peak of a step", HALF, shares, "7a"),
            Part(
                f"a model of at most {units.scaled(SIZE, 'B')} fills 11 GB at batch {USUAL}",
                "peak of a step / 11 GB",
                Bar(least=1),
                fills,
                "7b",
            ),
        ),
        (_parts(found), _sizes(networks)),
        tuple(_says(found)),
    )


@cache
def _step(name: str) -> Footprint:
    return footprint(name, optimizer="momentum", image_size=IMAGE_SIZES.get(name))


def activations(memory: Memory) -> float:
    """Bytes that grow with the batch: inputs, activations kept or in use, and their gradients; those of weights are not among them."""
    fixed = ("weights", "buffers", "optimizer state", "gradients of weights", "update")
    return memory.total - sum(memory.parts.get(name, 0.0) for name in fixed)


def share(memory: Memory) -> Estimate:
    """Share of activations at the peak, were either they or all else off by ERROR."""
    own = activations(memory)
    rest = memory.total - own

    def of(a: float, b: float) -> float:
        return a / (a + b)

    return Estimate(of(own, rest), of(own * (1 - ERROR), rest * (1 + ERROR)), of(own * (1 + ERROR), rest * (1 - ERROR)))


def _parts(found: dict[str, list[Memory]]) -> Table:
    rows = [
        (name, str(m.batch), units.scaled(m.parts["weights"], "B"), units.scaled(m.parts["optimizer state"], "B"),
         units.scaled(m.parts.get("gradients of weights", 0.0), "B"), units.scaled(activations(m), "B"), units.scaled(m.total, "B"),
         units.percent(share(m).value), HALF.judge(share(m)))
        for name, ms in found.items() for m in ms
    ]  # fmt: skip
    header = ("network", "batch", "weights", "optimiser", "gradients of weights", "activations", "peak", "activations", "over half")
    return Table("7a. Memory at the peak of a training step, fp32, SGD with momentum", header, rows,
                 "Gradients of weights are those alive at the peak. It mostly comes early in the backward pass, before many are made; at "
                 "batch 1 of networks with many parameters it comes with the update, when no activation is left. Workspace of libraries is "
                 "not counted.")  # fmt: skip


def _sizes(networks: Sequence[str]) -> Table:
    rows: list[tuple[str, ...]] = []
    for name in networks:
        steps = _step(name)
        largest = steps.largest([CARD])[0]
        weights = steps.constant["weights"]
        at = steps.at(USUAL)
        rows.append((name, str(IMAGE_SIZES.get(name, "")), units.scaled(weights, "B"), units.scaled(at.total, "B"),
                     f"{at.total / CARD:.2f}", str(largest)))  # fmt: skip
    return Table("7b. What fits in 11 GB", ("network", "px", "weights", f"peak at batch {USUAL}", "of 11 GB", "largest batch"), rows)


def _says(found: dict[str, list[Memory]]) -> Iterator[str]:
    for i, batch in enumerate(BATCHES):
        shares = {name: activations(ms[i]) / ms[i].total for name, ms in found.items()}
        low, high = (end(shares, key=shares.__getitem__) for end in (min, max))
        yield f"batch {batch}: {units.percent(shares[low])} ({low}) to {units.percent(shares[high])} ({high}) of the peak are activations"
    for name, ms in found.items():
        if ms[0].parts["weights"] <= SIZE:
            weights = units.scaled(ms[0].parts["weights"], "B")
            yield f"{name}, {weights} of weights: 11 GB are full with {_step(name).largest([CARD])[0] + 1} images"
