"""Figures of an analysis for notebooks: each is a function `Analysis -> plotly Figure`, by its name in VIEWS."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from roofline.report.views.memory import memory
from roofline.report.views.modules import modules
from roofline.report.views.rooflines import roofline
from roofline.report.views.sweep import sweep
from roofline.report.views.timeline import timeline
from roofline.report.views.waterfall import waterfall

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

VIEWS: "Mapping[str, Callable[..., Figure]]" = {
    "roofline": roofline,
    "timeline": timeline,
    "modules": modules,
    "waterfall": waterfall,
    "sweep": sweep,
    "memory": memory,
}
"""Every figure by its name, which is that of the method of a Report."""
