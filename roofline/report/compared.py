"""Put analyses side by side as plain data and arrays: what a page that compares them shows."""

from collections.abc import Sequence
from typing import Any

import roofline
from roofline.cost import KINDS
from roofline.costmodel.analysis import Analysis
from roofline.costmodel.timemodel import BOUNDS
from roofline.costmodel.waterfall import STEPS
from roofline.report.book import SCHEMA, choice, device_facts
from roofline.report.cells import Words, cell, program
from roofline.report.subject import AS_IS


def compared(analyses: Sequence[Analysis]) -> dict[str, Any]:
    """Return every figure of *analyses*, each as a subject with its label, program, cell and device."""
    words = Words()
    subjects: list[dict[str, Any]] = []
    for a, label in zip(analyses, labels(analyses), strict=True):
        shown, rows = program([[a]], (a.batch,), words)
        subjects.append({"label": label, "name": a.model, "params": a.params, "choice": choice(a),
                         "device": device_facts(a.hardware), "program": shown, "cell": cell([a], rows)})  # fmt: skip
    return {
        "schema": SCHEMA, "tool": {"name": "roofline", "version": roofline.__version__}, "kinds": list(KINDS), "bounds": list(BOUNDS),
        "steps": dict(STEPS), "subjects": subjects, **words.lists(),
    }  # fmt: skip


def labels(analyses: Sequence[Analysis]) -> list[str]:
    """Name each of *analyses* by what is not the same in all of them; by its network where all is the same."""
    parts = [(a.model, a.hardware.id, f"batch {a.batch}", a.precision, a.mode, a.layout, " + ".join(a.changes) or AS_IS) for a in analyses]
    varying = [i for i, values in enumerate(zip(*parts, strict=True)) if len(set(values)) > 1] or [0]
    return [", ".join(part[i] for i in varying) for part in parts]
