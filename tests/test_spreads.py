"""Spreads: the ends of intervals, from what was measured of predictions that had not seen it."""

import numpy as np
import pytest

from roofline.measurement.spreads import FEWEST, evenly, of_run, percentiles


def test_percentiles_are_those_that_80_of_100_lie_between() -> None:
    assert percentiles(np.arange(101) / 100) == pytest.approx((0.1, 0.9))


def test_each_group_counts_alike_however_many_times_it_was_measured() -> None:
    """Ten of one device run from 1.1 to 2.0 and hold half of the weight, a thousand of another at 3 the rest."""
    ratios = np.array([1.1 + i / 10 for i in range(10)] + [3.0] * 1000)
    assert evenly(ratios, ["few"] * 10 + ["many"] * 1000) == pytest.approx((1.2, 3.0))
    assert percentiles(ratios) == (3.0, 3.0)


def test_evenly_does_not_depend_on_the_order() -> None:
    ratios, names = np.array([0.5, 2.0, 1.0, 0.8]), ["a", "b", "b", "a"]
    assert evenly(ratios, names) == evenly(ratios[::-1], names[::-1]) == (0.5, 2.0)


def test_a_run_of_many_networks_has_a_spread_of_its_own_and_one_of_few_takes_the_wider() -> None:
    assert of_run((0.95, 1.05), FEWEST, (0.9, 1.2)) == (0.95, 1.05)
    assert of_run((0.95, 1.05), FEWEST - 1, (0.9, 1.2)) == (0.9, 1.2)
    assert of_run((0.8, 1.05), FEWEST - 1, (0.9, 1.2)) == (0.8, 1.2)
