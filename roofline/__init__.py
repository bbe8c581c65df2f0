"""Roofline performance analysis of neural networks: how fast, what holds each layer back, and how far the limit is.

    import roofline
    report = roofline.analyze("efficientnet_b3", "t4", batch=8, precision="fp16")
    report.latency, report.bound, report.by_layer()

Names are resolved when first used, so that `import roofline` stays instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from roofline.api import analyze, analyze_many, compare, price
    from roofline.costmodel import hardware
    from roofline.costmodel.analysis import Analysis
    from roofline.costmodel.bulk import Prices
    from roofline.costmodel.device import Hardware
    from roofline.costmodel.hardware import load_hardware
    from roofline.errors import ModelError, ProfileError, RooflineError, UnknownNameError, UnsupportedError
    from roofline.graph import Graph
    from roofline.measurement.measure import measure
    from roofline.measurement.measurement import Measurement
    from roofline.measurement.validate import validate, validate_host, validate_published
    from roofline.report.differences import Differences
    from roofline.report.report import Report
    from roofline.studies.advice import Advice, Advised, advise
    from roofline.studies.footprint import Memory, largest_batch, memory
    from roofline.studies.found import Search
    from roofline.studies.search import search
    from roofline.studies.sweep.result import Sweep
    from roofline.studies.sweep.run import sweep
    from roofline.studies.training import Training, train
    from roofline.tracing.source import trace
    from roofline.tracing.spec import InputSpec

__version__ = "0.1.0"

_NAMES_BY_HOME = {
    "roofline.api": ("analyze", "analyze_many", "compare", "price"),
    "roofline.costmodel.analysis": ("Analysis",),
    "roofline.costmodel.bulk": ("Prices",),
    "roofline.costmodel.device": ("Hardware",),
    "roofline.costmodel.hardware": ("load_hardware",),
    "roofline.errors": ("ModelError", "ProfileError", "RooflineError", "UnknownNameError", "UnsupportedError"),
    "roofline.graph": ("Graph",),
    "roofline.measurement.measure": ("measure",),
    "roofline.measurement.measurement": ("Measurement",),
    "roofline.measurement.validate": ("validate", "validate_host", "validate_published"),
    "roofline.report.differences": ("Differences",),
    "roofline.report.report": ("Report",),
    "roofline.studies.found": ("Search",),
    "roofline.studies.search": ("search",),
    "roofline.studies.sweep.result": ("Sweep",),
    "roofline.studies.sweep.run": ("sweep",),
    "roofline.studies.advice": ("Advice", "Advised", "advise"),
    "roofline.studies.footprint": ("Memory", "largest_batch", "memory"),
    "roofline.studies.training": ("Training", "train"),
    "roofline.tracing.spec": ("InputSpec",),
    "roofline.tracing.source": ("trace",),
}
_HOMES = {name: home for home, names in _NAMES_BY_HOME.items() for name in names}

__all__ = [
    "Advice",
    "Advised",
    "Analysis",
    "Differences",
    "Graph",
    "Hardware",
    "InputSpec",
    "Measurement",
    "Memory",
    "ModelError",
    "Prices",
    "ProfileError",
    "Report",
    "RooflineError",
    "Search",
    "Sweep",
    "Training",
    "UnknownNameError",
    "UnsupportedError",
    "advise",
    "analyze",
    "analyze_many",
    "compare",
    "hardware",
    "largest_batch",
    "load_hardware",
    "measure",
    "memory",
    "price",
    "search",
    "sweep",
    "trace",
    "train",
    "validate",
    "validate_host",
    "validate_published",
]


def __getattr__(name: str) -> Any:
    if name == "hardware":
        return import_module("roofline.costmodel.hardware")
    if name not in _HOMES:
        raise AttributeError(f"module 'roofline' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
