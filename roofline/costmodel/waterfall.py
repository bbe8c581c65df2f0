"""Explain a latency: the steps that lead from the FLOPs at datasheet peak to the predicted time, for the whole network."""

import numpy as np

from roofline.costmodel.calibration import neutral
from roofline.costmodel.columns import Columns, Floats
from roofline.costmodel.demand import demand
from roofline.costmodel.device import Hardware
from roofline.costmodel.fleet import Fleet
from roofline.costmodel.timemodel import Times, roofs

STEPS: dict[str, str] = {
    "arithmetic": "every FLOP at the datasheet peak of its engine",
    "traffic": "what every kernel reads and writes, at datasheet bandwidth: the physical limit of these kernels",
    "ceilings": "the rates that tuned code achieves, instead of the datasheet's",
    "efficiency": "what this kind and shape of kernel reaches of these rates, and what caches lose that could hold it",
    "occupancy": "kernels too small to fill the device",
    "overhead": "launches, dispatch and the wait for the host",
}
"""What each step adds to the one before it; the last ends at the latency. A step that makes good an earlier one is negative."""


def waterfall(columns: Columns, hardware: Hardware, times: Times) -> Floats:
    """Return seconds of the whole network after each of STEPS, as (batches, steps): the last column is the latency."""
    fleet = Fleet((hardware,), (neutral("engine"),))
    asked = demand(columns, fleet.distances)
    (arithmetic,), _ = roofs(asked, fleet, datasheet=True)
    (achieved,) = np.maximum(*roofs(asked, fleet))
    whole = times.seconds - times.overhead
    ends = (arithmetic, times.limit, achieved, whole - times.occupancy, whole, times.seconds)
    return np.stack([seconds.sum(axis=1) for seconds in ends], axis=1)


def split(times: Times) -> Floats:
    """Share out the seconds of every kernel among BOUNDS, in that order, as (4, batches, kernels): the parts add up to the whole.

    Overhead and occupancy are lost time by definition. Of compute and memory, which overlap, the longer counts in full and the
    shorter with what is not hidden behind it.
    """
    busy = times.seconds - times.overhead
    occupancy = np.minimum(times.occupancy, busy)
    both = busy - occupancy
    longer = times.compute > times.memory
    compute = np.where(longer, np.minimum(times.compute, both), np.maximum(both - times.memory, 0.0))
    return np.stack([compute, both - compute, times.overhead, occupancy])
