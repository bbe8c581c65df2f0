"""An Analysis that can show and save itself: text, JSON, CSV, Markdown, HTML."""

from dataclasses import fields
from pathlib import Path

from roofline import units
from roofline.costmodel.analysis import Analysis
from roofline.files import save


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
