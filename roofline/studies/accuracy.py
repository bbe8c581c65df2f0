"""Published ImageNet accuracy: which weights of a network reach which top-1 at which image size, and who says so.

The table is benchmarks/published/accuracy_imagenet.csv: timm's results (huggingface/pytorch-image-models, folder `results`,
results-imagenet.csv, Apache-2.0), the accuracies that torchvision's weights carry, and two figures from papers.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_MORE_DATA = re.compile(r"in12k|in2[12]k|jft|ig1b|yfcc|laion|clip|wsl|ssl|openai|dfn|webli|m38m|m30m|dist|lvd|merged|ade|seg|ss_")
"""Words in the tag of weights that saw more images than ImageNet-1k, or another network's answers."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Top-1 of *network* in percent, with the *weights* of that tag, on the validation images of ImageNet-1k at *image_size* pixels."""

    network: str
    weights: str
    family: str
    image_size: int
    top1: float
    source: str

    @property
    def more_data(self) -> bool:
        """Tell whether these weights saw more images than ImageNet-1k, or learned from another network."""
        return bool(_MORE_DATA.search(self.weights.partition(".")[2])) or "distilled" in self.network


def table() -> Sequence[Accuracy]:
    """Every published accuracy, the highest of each network first."""
    return _table()


def by_weights() -> Mapping[tuple[str, int], Accuracy]:
    """Every published accuracy by the name of its weights (`resnet50.tv_in1k`) and its image size."""
    return {(row.weights, row.image_size): row for row in _table()}


def best(network: str) -> Accuracy | None:
    """The highest top-1 of *network* with weights that saw ImageNet-1k alone; None where nobody published one."""
    found = [row for row in _table() if row.network == network and not row.more_data]
    return max(found, key=lambda row: row.top1, default=None)


@cache
def _table() -> tuple[Accuracy, ...]:
    package = Path(__file__).resolve().parents[1]
    shipped = package / "_published"
    folder = shipped if shipped.is_dir() else package.parent / "benchmarks" / "published"
    with (folder / "accuracy_imagenet.csv").open(encoding="utf-8", newline="") as file:
        rows = [
            Accuracy(line["timm_name"], line["model"], line["timm_module"], int(line["img_size"]), float(line["top1"]), line["source"])
            for line in csv.DictReader(file)
        ]
    return tuple(sorted(rows, key=lambda row: (row.network, -row.top1)))
