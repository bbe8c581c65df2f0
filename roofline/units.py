"""Turn base units (seconds, bytes, FLOPs) into text a person reads, and text a person writes into base units.

Everything inside the package is SI and decimal; prefixes live here only. Binary sizes are written with an `i` (MiB).
"""

import math
import re

FLOPS_PER_MAC = 2
"""One multiply-accumulate is two floating-point operations."""

BITS = {
    "fp64": 64, "fp32": 32, "tf32": 32, "bf16": 16, "fp16": 16, "fp8": 8, "fp4": 4,
    "int64": 64, "int32": 32, "int16": 16, "int8": 8, "int4": 4, "bool": 8, "complex64": 64, "complex128": 128,
}  # fmt: skip
"""Bits that one element of each data type takes in memory (tf32 is fp32 in memory)."""

FLOATS = frozenset({"fp64", "fp32", "tf32", "bf16", "fp16", "fp8"})

_PREFIXES = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "m": 1e-3, "u": 1e-6, "µ": 1e-6, "n": 1e-9}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}
_QUANTITY = re.compile(r"\s*([0-9.]+(?:[eE][-+]?[0-9]+)?)\s*((?:[KMGT]i)|[kKMGTPmuµn]?)\s*(B/s|B|FLOP/s|FLOPs?|MACs?|s|Hz|W)?\s*")


def scaled(value: float, unit: str, *, digits: int = 3) -> str:
    """Write *value* with a decimal prefix and *digits* significant figures: `scaled(3.2e11, "B/s") == "320 GB/s"`."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}".rstrip()
    exponent = min(max(math.floor(math.log10(abs(value)) / 3), 0), 5)
    mantissa = significant(value / 1000.0**exponent, digits)
    if abs(float(mantissa)) >= 1000 and exponent < 5:
        exponent, mantissa = exponent + 1, significant(math.copysign(1.0, value), digits)
    return f"{mantissa} {('', 'k', 'M', 'G', 'T', 'P')[exponent]}{unit}".rstrip()


def significant(value: float, digits: int = 3) -> str:
    """Write *value* with *digits* significant figures and no exponent: `significant(12.345) == "12.3"`."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    exponent = int(f"{value:.{digits - 1}e}".rpartition("e")[2])  # after rounding: 9.996 is 10.0
    return f"{value:.{max(digits - 1 - exponent, 0)}f}"


def seconds(value: float, *, digits: int = 3) -> str:
    """Write a duration in s, ms, us or ns: `seconds(0.00424) == "4.24 ms"`."""
    for limit, factor, unit in ((1.0, 1.0, "s"), (1e-3, 1e3, "ms"), (1e-6, 1e6, "us")):
        if abs(value) >= limit * (1 - 0.5 * 10.0**-digits):
            return f"{significant(value * factor, digits)} {unit}"
    return f"{significant(value * 1e9, digits)} ns" if value else "0 s"


def percent(share: float) -> str:
    """Write a share of one as a percentage: `percent(0.714) == "71 %"`."""
    return f"{100 * share:.0f} %" if abs(share) >= 0.0995 or share == 0 else f"{100 * share:.1f} %"


def parse(text: str) -> float:
    """Read a quantity with an optional prefix and unit into base units: `parse("2.7 GHz") == 2.7e9`, `parse("33 MiB")`.

    Raises ValueError when *text* is not a number with a known prefix and unit.
    """
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"cannot read the quantity {text!r}; write a number, a prefix and a unit, such as '2.7 GHz' or '33 MiB'")
    number, prefix, _ = match.groups()
    return float(number) * (_BINARY[prefix] if prefix in _BINARY else _PREFIXES[prefix])
