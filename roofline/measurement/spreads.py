"""Say how far measured times lie from predictions that had not seen them: the ends of an interval that holds 80 % of them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Spread = tuple[float, float]
"""10th and 90th percentile of measured over predicted time."""

FEWEST = 12
"""Networks from which a run's own spread can be told."""


def percentiles(ratios: NDArray[np.float64]) -> Spread:
    """Return the 10th and 90th percentile of measured over predicted times."""
    low, high = np.quantile(ratios, [0.1, 0.9])
    return float(low), float(high)


def evenly(ratios: NDArray[np.float64], groups: Sequence[str]) -> Spread:
    """Return the 10th and 90th percentile of *ratios*, in which each group weighs as much as any other."""
    names, index, counts = np.unique(np.array(groups), return_inverse=True, return_counts=True)
    order = np.argsort(ratios)
    position = np.cumsum(1 / counts[index][order]) / len(names)
    low, high = (float(ratios[order][min(np.searchsorted(position, share), len(order) - 1)]) for share in (0.1, 0.9))
    return low, high


def of_run(own: Spread, networks: int, pooled: Spread) -> Spread:
    """Return the spread of a run: its *own*; of fewer *networks* than FEWEST, at either end the wider of that and the *pooled* one."""
    return own if networks >= FEWEST else (min(own[0], pooled[0]), max(own[1], pooled[1]))
