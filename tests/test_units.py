"""Checks how quantities are written for people and read from them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roofline import units


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (3.2e11, "B/s", "320 GB/s"),
        (6.5e13, "FLOP/s", "65.0 TFLOP/s"),
        (5288548, "", "5.29 M"),
        (999, "B", "999 B"),
        (1000, "B", "1.00 kB"),
        (0.5, "FLOP/B", "0.500 FLOP/B"),
        (0, "B", "0 B"),
        (2.5e18, "FLOP", "2500 PFLOP"),
        (-2e6, "B", "-2.00 MB"),
        (math.inf, "s", "inf s"),
    ],
)
def test_a_value_is_written_with_a_decimal_prefix_and_three_digits(value: float, unit: str, text: str) -> None:
    assert units.scaled(value, unit) == text


def test_a_value_just_below_a_prefix_takes_the_next_one() -> None:
    assert units.scaled(999_999, "B").endswith(" MB")


@pytest.mark.parametrize(
    ("value", "digits", "text"), [(12.345, 3, "12.3"), (0.004567, 2, "0.0046"), (1234.5, 3, "1234"), (0, 3, "0"), (7, 1, "7")]
)
def test_significant_figures_are_kept_without_an_exponent(value: float, digits: int, text: str) -> None:
    assert units.significant(value, digits) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.00424, "4.24 ms"), (1.5, "1.50 s"), (2e-6, "2.00 us"), (3.21e-7, "321 ns"), (0, "0 s"), (75, "75.0 s")],
)
def test_a_duration_is_written_in_the_unit_that_keeps_it_above_one(value: float, text: str) -> None:
    assert units.seconds(value) == text


@pytest.mark.parametrize(("share", "text"), [(0.714, "71 %"), (1, "100 %"), (0.0312, "3.1 %"), (0, "0 %"), (1.25, "125 %")])
def test_a_share_is_written_as_a_percentage(share: float, text: str) -> None:
    assert units.percent(share) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2.7 GHz", 2.7e9), ("33 MiB", 33 * 1048576), ("320 GB/s", 3.2e11), ("65 TFLOP/s", 6.5e13), ("4 us", 4e-6), ("4 µs", 4e-6),
        ("12", 12),
        (" 70 W ", 70), ("1e3 kB", 1e6), ("1 KiB", 1024), ("5 ms", 5e-3), ("0.39 GMACs", 3.9e8), ("2 PFLOP/s", 2e15), ("1 TB", 1e12),
    ],
)  # fmt: skip
def test_a_quantity_is_read_into_base_units(text: str, value: float) -> None:
    assert units.parse(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "fast", "3 XB", "GB", "3 GB per s", "-3 GB", "3,2 GB"])
def test_text_that_is_no_quantity_is_an_error_that_shows_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"cannot read the quantity .* such as '2.7 GHz'"):
        units.parse(text)


@given(st.floats(1e-3, 9e17), st.sampled_from(["B", "B/s", "FLOP/s", "s"]))
def test_what_is_written_reads_back_to_three_digits(value: float, unit: str) -> None:
    assert units.parse(units.scaled(value, unit)) == pytest.approx(value, rel=0.0051)


@given(st.floats(1e-9, 1e4))
def test_a_duration_reads_back_to_three_digits(value: float) -> None:
    assert units.parse(units.seconds(value)) == pytest.approx(value, rel=0.0051)


@pytest.mark.parametrize(
    ("dtype", "bits"), [("fp32", 32), ("tf32", 32), ("fp16", 16), ("bf16", 16), ("int8", 8), ("int4", 4), ("bool", 8), ("int64", 64)]
)
def test_each_data_type_has_its_width_in_memory(dtype: str, bits: int) -> None:
    assert units.BITS[dtype] == bits


def test_a_mac_is_two_flops() -> None:
    assert units.FLOPS_PER_MAC == 2
