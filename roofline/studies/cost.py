"""Turn predicted time into money and energy: what an item costs on a rented device, and at most how much energy it takes."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from roofline import units
from roofline.costmodel.analysis import Analysis
from roofline.costmodel.device import Hardware
from roofline.studies.rows import csv_text, fitted, statuses

SCHEMA = 1
"""Version of the JSON form."""

HOUR = 3600.0
MILLION = 1e6

NO_PRICE = "no sourced price; add `price:` to its profile to rank it"

MEANING = (
    "$/million: for a million items with the instance busy all the time",
    "J/item: a bound, the power limit times the predicted time; the host is not in it",
)

HEADER = ("device", "batch", "latency", "items/s", "$/hour", "$/million", "80 % between", "items/$", "J/item <=")


def usd_per_million(analysis: Analysis) -> float | None:
    """Dollars for a million items on the rented instance, kept busy; None for a device without a price."""
    return dollars(analysis.hardware, analysis.latency / analysis.batch)


def usd_interval(analysis: Analysis) -> tuple[float, float] | None:
    """Dollars for a million items at both ends of the 80 % interval of the latency; None for a device without a price."""
    low, high = (dollars(analysis.hardware, seconds / analysis.batch) for seconds in analysis.interval)
    return None if low is None or high is None else (low, high)


def items_per_usd(analysis: Analysis) -> float | None:
    """Items that a dollar buys; None for a device without a price."""
    paid = usd_per_million(analysis)
    return None if paid is None else MILLION / paid


def joules_per_item(analysis: Analysis) -> float | None:
    """Joules that an item takes at most, were the device at its power limit (TDP) throughout; None where that is not known.

    A bound, no prediction: a device that waits for memory or for its host draws far less. The host is not counted.
    """
    return joules(analysis.hardware, analysis.latency / analysis.batch)


def dollars(hardware: Hardware, seconds: float) -> float | None:
    """Dollars for a million items that take *seconds* each."""
    return None if hardware.price is None else hardware.price.usd_per_hour / HOUR * seconds * MILLION


def joules(hardware: Hardware, seconds: float) -> float | None:
    """Joules that *seconds* at the power limit of *hardware* take."""
    return None if hardware.power is None else hardware.power * seconds


def price_of(hardware: Hardware) -> str:
    """Say in words what *hardware* costs, which instance that is of, and since when; empty where no price is known."""
    if (price := hardware.price) is None:
        return ""
    note = f"; {price.note}" if price.note else ""
    return f"${price.usd_per_hour:g} an hour, {price.instance} on demand in {price.region}, {price.date}{note}"


def row(analysis: Analysis) -> dict[str, Any]:
    """Return price, cost and the bound on energy as a plain dictionary, with the unit in each key; None where nothing is known."""
    price, interval = analysis.hardware.price, usd_interval(analysis)
    return {
        "model": analysis.model,
        "hardware": analysis.hardware.id,
        "batch": analysis.batch,
        "precision": analysis.precision,
        "mode": analysis.mode,
        "latency_seconds": analysis.latency,
        "throughput_items_per_second": analysis.throughput,
        "price_usd_per_hour": price.usd_per_hour if price else None,
        "instance": price.instance if price else None,
        "region": price.region if price else None,
        "price_date": price.date if price else None,
        "usd_per_million_items": usd_per_million(analysis),
        "usd_per_million_items_low": interval[0] if interval else None,
        "usd_per_million_items_high": interval[1] if interval else None,
        "items_per_usd": items_per_usd(analysis),
        "power_limit_watts": analysis.hardware.power,
        "joules_per_item_at_most": joules_per_item(analysis),
        "fits": analysis.peak_memory <= analysis.hardware.memory_size,
    }


def to_json(analyses: Sequence[Analysis]) -> str:
    """Write what *analyses* cost as JSON with a schema version."""
    return json.dumps({"schema": SCHEMA, "costs": [row(a) for a in analyses]}, indent=1, allow_nan=False) + "\n"


def to_csv(analyses: Sequence[Analysis]) -> str:
    """Write one CSV line per analysis, with the unit in each heading."""
    return csv_text([row(a) for a in analyses])


def cells(analysis: Analysis) -> tuple[str, ...]:
    """Write one analysis as the cells of HEADER; `-` where a device has no price or no power limit."""
    price, interval = analysis.hardware.price, usd_interval(analysis)
    joules, bought = joules_per_item(analysis), items_per_usd(analysis)
    return (
        analysis.hardware.id, str(analysis.batch), units.seconds(analysis.latency), units.significant(analysis.throughput),
        f"{price.usd_per_hour:.3f}" if price else "-", money(usd_per_million(analysis)),
        f"{money(interval[0])} to {money(interval[1])}" if interval else "-",
        units.scaled(bought, "") if bought else "-", units.significant(joules, 2) if joules is not None else "-",
    )  # fmt: skip


def money(usd: float | None) -> str:
    """Write dollars to three figures, `-` where there is no price."""
    return "-" if usd is None else units.significant(usd)


def lines(analyses: Sequence[Analysis], width: int = 80) -> Iterator[str]:
    """Write a table of what *analyses* cost, and below it where the prices come from."""
    yield from fitted(HEADER, [cells(a) for a in analyses], spare=("80 % between", "items/s"), width=width)
    yield ""
    yield from notes(analyses)
    yield from statuses(analyses, width)


def notes(analyses: Sequence[Analysis]) -> Iterator[str]:
    """Say which instance each price is of, who has none, and that energy is a bound."""
    hardware = {a.hardware.id: a.hardware for a in analyses}
    for device in hardware.values():
        yield f"{device.id}: {price_of(device) or NO_PRICE}"
    yield from MEANING
    if too_large := [f"{a.hardware.id} batch {a.batch}" for a in analyses if a.peak_memory > a.hardware.memory_size]:
        yield f"does not fit in device memory: {', '.join(too_large)}"
