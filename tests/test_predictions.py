"""A change of any predicted number is an entry in the changelog: a fixed set of predictions is kept, and held against those made now."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import roofline
from roofline.measurement.table import table

KEPT = Path(__file__).parent / "predictions" / "latency.csv"
COLUMNS = ("model", "device", "mode", "precision", "batch", "latency_seconds", "lower_bound_seconds", "peak_memory_bytes")

MODELS = (
    "efficientnet_b0", "efficientnet_b3", "efficientnetv2_rw_t", "mobilenetv2_100", "mobilenetv3_large_100", "resnet18", "resnet50",
    "regnety_016", "convnext_tiny", "vit_small_patch16_224",
)  # fmt: skip
RUNS = (
    ("t4", "eager", "fp32", 1), ("t4", "engine", "fp16", 32), ("v100", "eager", "amp", 64), ("rtx4090", "compiled", "amp", 8),
    ("c5.2xlarge", "engine", "fp32", 1), ("h100", "ideal", "fp16", 128),
)  # fmt: skip

TOLERANCE = 1e-6
"""Relative difference that counts as a change: far above rounding, far below what anybody would notice."""

REMEDY = """{count} of {all} predictions changed. If that is meant, add an entry to CHANGELOG.md
that says what a user will notice, and keep the new numbers by: python -m pytest tests/test_predictions.py --update-golden"""


def predictions() -> Iterator[dict[str, Any]]:
    for model in MODELS:
        graph = roofline.trace(model)
        for device, mode, precision, batch in RUNS:
            found = roofline.analyze(graph, device, mode=mode, precision=precision, batch=batch)
            values = (model, device, mode, precision, batch, found.latency, found.lower_bound, found.peak_memory)
            yield dict(zip(COLUMNS, values, strict=True))


def moved(old: list[dict[str, str]], new: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """List what differs: where, which figure, what it was and is, and by how many percent."""
    known = {tuple(row[name] for name in COLUMNS[:5]): row for row in old}
    lines: list[tuple[str, ...]] = []
    for row in new:
        where = tuple(str(row[name]) for name in COLUMNS[:5])
        for name in COLUMNS[5:]:
            before, after = float(known[where][name]) if where in known else float("nan"), row[name]
            if not abs(after - before) <= TOLERANCE * abs(before):
                lines.append(
                    (" ".join(where), name.rpartition("_")[0], f"{before:.4g}", f"{after:.4g}", f"{100 * (after / before - 1):+.2f} %")
                )
    return lines


def test_predictions_are_those_of_the_changelog(request: pytest.FixtureRequest) -> None:
    now = list(predictions())
    if request.config.getoption("--update-golden"):
        with KEPT.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows({k: f"{v:.9g}" if isinstance(v, float) else v for k, v in row.items()} for row in now)
    with KEPT.open(newline="", encoding="utf-8") as file:
        kept = list(csv.DictReader(file))
    assert len(kept) == len(now) == len(MODELS) * len(RUNS)
    changed = moved(kept, now)
    if changed:
        shown = "\n".join(table(("prediction", "figure", "was", "is", "change"), changed, words=("figure",), width=100))
        pytest.fail(f"{shown}\n\n{REMEDY.format(count=len(changed), all=len(now) * 3)}", pytrace=False)


def test_a_change_is_seen_and_told() -> None:
    row = {**dict(zip(COLUMNS[:5], ("net", "t4", "eager", "fp32", 1), strict=True)), "latency_seconds": 2.0, "lower_bound_seconds": 1.0}
    old = [{name: str(value) for name, value in row.items()} | {"peak_memory_bytes": "100"}]
    assert moved(old, [{**row, "peak_memory_bytes": 100.0}]) == []
    assert moved(old, [{**row, "peak_memory_bytes": 100.0, "latency_seconds": 2.1}]) == [
        ("net t4 eager fp32 1", "latency", "2", "2.1", "+5.00 %")
    ]
    assert len(moved([], [{**row, "peak_memory_bytes": 100.0}])) == 3
