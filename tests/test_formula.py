"""The formula: its parts by hand on round numbers, the norm that joins two roofs, and the same from NumPy and PyTorch."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from roofline.costmodel.formula import Efficiency, Parts, joined, parts

any_speed = settings(deadline=None)


@dataclass(frozen=True)
class Ask:
    """What the formula reads of a workload."""

    matrix: Any = 2.0
    vector: Any = 1.0
    shared: Any = False
    dram: Any = 3.0
    cache: Any = 4.0
    latency: Any = 1.0
    bias: Any = 1.0
    transpose: Any = 2.0
    fresh: Any = 4.0
    packed: Any = 6.0
    depth: Any = 30.0
    columns: Any = 8.0
    pace: Any = 1.0
    outputs: Any = 100.0


E = Efficiency(
    memory=0.5,
    product=0.5,
    vector=0.25,
    depth=10.0,
    columns=4.0,
    alignment=0.5,
    outputs=300.0,
    cache=2.0,
    bias=0.5,
    transpose=0.8,
    fresh=2.0,
    packing=3.0,
    crowd=1.5,
)


def priced(ask: Ask, e: Efficiency = E) -> dict[str, float]:
    """Price one kernel with NumPy."""
    found = parts(ask, e, np)
    return {field.name: float(getattr(found, field.name)) for field in fields(Parts)}


# --- by hand -----------------------------------------------------------------------------------------------------------


def test_the_parts_of_a_kernel_by_hand() -> None:
    assert priced(Ask()) == pytest.approx(
        {
            "matrix": 24.0,  # 2 s, half as fast, at 3/4 of it by depth, 2/3 by columns and 1/2 by alignment; 1.5 times as long by crowding
            "other": 6.0,  # 1 s at a quarter, crowded
            "compute": 24.0,  # both engines at once
            "memory": 10.0,  # DRAM's 3 s exceed the 2 s of a cache twice as fast; at half, crowded; and 1 s of waiting
            "passes": 11.75,  # 1 s at half, 2 s at 4/5 and 6 B at 3 B/s: 6.5 s, crowded; and 4 B at 2 B/s, as all cores write them
            "fill": 0.25,  # 100 results where 300 reach a half
        }
    )


def test_one_engine_does_both_kinds_of_work_in_turn() -> None:
    assert priced(Ask(shared=True))["compute"] == pytest.approx(30.0)


def test_the_slower_engine_counts_where_there_are_two() -> None:
    assert priced(Ask(vector=10.0))["compute"] == pytest.approx(60.0)


def test_the_slowest_level_counts() -> None:
    assert priced(Ask(cache=8.0))["memory"] == pytest.approx(13.0)
    assert priced(Ask(dram=0.0, cache=0.0, latency=0.0))["memory"] == 0


def test_a_side_at_half_efficiency_halves_it() -> None:
    fast = replace(E, product=1.0, depth=30.0, columns=0.0, alignment=1.0, crowd=1.0)
    assert priced(Ask(), fast)["matrix"] == pytest.approx(4.0)


def test_what_a_shape_costs_takes_as_long_on_a_faster_engine() -> None:
    fast = replace(E, product=1.0, alignment=1.0, crowd=1.0)  # half of the pace by shape: 2 s more
    assert priced(Ask(), fast)["matrix"] == pytest.approx(4.0)
    assert priced(Ask(matrix=0.5, pace=4.0), fast)["matrix"] == pytest.approx(2.5)


def test_without_losses_a_kernel_takes_its_seconds_at_the_ceilings() -> None:
    whole = Efficiency(**{field.name: float(field.name not in ("depth", "columns", "outputs")) for field in fields(Efficiency)})
    found = priced(Ask(), whole)
    assert found == pytest.approx({"matrix": 2.0, "other": 1.0, "compute": 2.0, "memory": 5.0, "passes": 13.0, "fill": 1.0})
    assert priced(Ask(outputs=0.0), whole)["fill"] == 1.0  # a kernel that writes nothing is not divided by nothing


# --- the norm ----------------------------------------------------------------------------------------------------------

seconds = st.floats(0, 1e3, allow_subnormal=False)


def norm(one: float, other: float) -> float:
    """Join two numbers with NumPy."""
    return float(joined(np.float64(one), np.float64(other), np))


def test_the_norm_by_hand() -> None:
    assert norm(1, 2) == pytest.approx(17**0.25)
    assert norm(3, 3) == pytest.approx(3 * 2**0.25)
    assert norm(5, 0) == pytest.approx(5)
    assert norm(0, 0) < 1e-29
    assert norm(1, 1e-3) == pytest.approx(1, rel=1e-12)  # what is far smaller hides


@any_speed
@given(seconds, seconds)
def test_two_roofs_take_as_long_as_the_larger_and_at_most_a_fifth_longer(one: float, other: float) -> None:
    larger = max(one, other)
    assert larger <= norm(one, other) <= larger * 2**0.25 * (1 + 1e-12) + 2e-30


@any_speed
@given(seconds, seconds)
def test_the_order_of_two_roofs_does_not_matter(one: float, other: float) -> None:
    assert norm(one, other) == norm(other, one)


@any_speed
@given(seconds, seconds, seconds)
def test_a_higher_roof_never_takes_less(one: float, other: float, more: float) -> None:
    assert norm(one + more, other) >= norm(one, other) * (1 - 1e-12)


@any_speed
@given(st.floats(1e-9, 1e3), st.floats(1e-9, 1e3), st.floats(1e-3, 1e3))
def test_the_norm_does_not_depend_on_the_unit_of_time(one: float, other: float, factor: float) -> None:
    assert norm(one * factor, other * factor) == pytest.approx(norm(one, other) * factor)


# --- two modules of arrays ---------------------------------------------------------------------------------------------


@st.composite
def kernels(draw: st.DrawFn) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Draw what a few kernels ask, and the efficiencies they meet."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(1, 20))
    some = draw(st.floats(0, 1))
    asked: dict[str, NDArray[Any]] = {f.name: rng.lognormal(-8, 3, count) * (rng.random(count) < some) for f in fields(Ask)}
    asked |= {name: rng.integers(1, 5000, count).astype(float) for name in ("depth", "columns")}
    asked["shared"] = rng.random(count) < 0.5
    return asked, {f.name: rng.lognormal(0, 1, count) for f in fields(Efficiency)}


@any_speed
@given(kernels())
def test_numpy_and_pytorch_give_the_same(case: tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]) -> None:
    asked, met = case
    with_numpy = parts(Ask(**asked), Efficiency(**met), np)
    tensors = [{name: torch.from_numpy(values) for name, values in table.items()} for table in case]
    with_torch = parts(Ask(**tensors[0]), Efficiency(**tensors[1]), torch)
    for name in (field.name for field in fields(Parts)):
        assert getattr(with_torch, name).numpy() == pytest.approx(getattr(with_numpy, name), rel=1e-12)
    both = joined(with_torch.compute, with_torch.memory, torch).numpy()
    assert both == pytest.approx(joined(with_numpy.compute, with_numpy.memory, np), rel=1e-12)


@any_speed
@given(kernels())
def test_arrays_give_what_single_kernels_give(case: tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]) -> None:
    asked, met = case
    together = parts(Ask(**asked), Efficiency(**met), np)
    for i in range(len(asked["matrix"])):
        alone = parts(Ask(**{n: v[i] for n, v in asked.items()}), Efficiency(**{n: v[i] for n, v in met.items()}), np)
        for field in fields(Parts):
            assert getattr(alone, field.name) == pytest.approx(getattr(together, field.name)[i])


@any_speed
@given(st.floats(1e-6, 1e3), st.floats(1e-6, 1e3))
def test_the_norm_has_the_gradients_of_a_fit(one: float, other: float) -> None:
    pair = torch.tensor([one, other], dtype=torch.float64, requires_grad=True)
    value = joined(pair[0], pair[1], torch)
    value.backward()
    assert pair.grad is not None
    slopes = [float(g) for g in pair.grad]
    assert all(0 <= slope <= 1 for slope in slopes)
    assert slopes[0] * one + slopes[1] * other == pytest.approx(float(value), rel=1e-9)  # Euler: twice the time for twice the roofs
