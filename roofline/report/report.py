"""An Analysis that can show and save itself: text, figures, JSON, CSV, Markdown, HTML."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from roofline import units
from roofline.costmodel.analysis import Analysis
from roofline.files import save

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


class Report(Analysis):
    """What `roofline.analyze` returns: every figure of an Analysis, and the ways to write it out."""

    @classmethod
    def of(cls, analysis: Analysis) -> "Report":
        """Wrap *analysis*."""
        return cls(**{f.name: getattr(analysis, f.name) for f in fields(analysis)})

    def __repr__(self) -> str:
        return (
            f"<Report: {self.model} on {self.hardware.id}, batch {self.batch}, {self.precision}, {self.mode}: "
            f"{units.seconds(self.latency)}, {self.bound}-bound>"
        )

    def __str__(self) -> str:
        from roofline.report.text import to_text

        return to_text([self])

    def _repr_html_(self) -> str:
        from roofline.report.html import fragment

        return fragment(self)

    def to_json(self, path: str | Path | None = None) -> str:
        """Return the report as JSON with a schema version, and write it to *path* if given."""
        from roofline.report.export import to_json

        return save(to_json([self]), path)

    def to_csv(self, path: str | Path | None = None) -> str:
        """Return one CSV line per kernel, with the unit in each heading, and write it to *path* if given."""
        from roofline.report.export import to_csv

        return save(to_csv([self]), path)

    def to_markdown(self, path: str | Path | None = None) -> str:
        """Return the summary and the slowest layers as Markdown, and write it to *path* if given."""
        from roofline.report.export import to_markdown

        return save(to_markdown([self]), path)

    def to_html(self, path: str | Path | None = None) -> str:
        """Return one self-contained page, and write it to *path* if given."""
        from roofline.report.html import to_html

        return save(to_html([self]), path)

    def roofline(self, *, colour: Literal["bound", "kind"] = "bound", dark: bool | None = None) -> "Figure":
        """Draw every kernel under the roofs of the device, as a plotly Figure; *dark* is plotly's default template's unless given."""
        from roofline.report.views import roofline

        return roofline(self, colour=colour, dark=dark)

    def timeline(self, *, depth: int | None = None, dark: bool | None = None) -> "Figure":
        """Draw the time of each layer, or module of *depth* parts, in the order they run, and what it is spent on."""
        from roofline.report.views import timeline

        return timeline(self, depth=depth, dark=dark)

    def modules(
        self, *, value: Literal["time", "bytes", "flops"] = "time", shape: Literal["icicle", "treemap"] = "icicle", dark: bool | None = None
    ) -> "Figure":
        """Draw the tree of modules by their time, bytes moved or FLOPs."""
        from roofline.report.views import modules

        return modules(self, value=value, shape=shape, dark=dark)

    def waterfall(self, *, dark: bool | None = None) -> "Figure":
        """Draw the steps that lead from the physical limit to the latency."""
        from roofline.report.views import waterfall

        return waterfall(self, dark=dark)

    def sweep(self, *, batches: Sequence[int] = (), dark: bool | None = None) -> "Figure":
        """Draw latency and throughput against the batch size, at *batches* or 1, 2, 4, ... 1024."""
        from roofline.report.views import sweep

        return sweep(self, batches=batches, dark=dark)

    def memory(self, *, dark: bool | None = None) -> "Figure":
        """Draw what lies in memory while the network runs, and who holds it at the peak."""
        from roofline.report.views import memory

        return memory(self, dark=dark)
