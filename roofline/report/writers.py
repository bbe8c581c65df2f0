"""Choose how analyses are written by the suffix of the file."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from roofline.costmodel.analysis import Analysis
from roofline.errors import RooflineError
from roofline.report.export import to_csv, to_json, to_markdown
from roofline.report.html import to_html

Writer = Callable[[Sequence[Analysis]], str]
"""Turns analyses into the text of a file."""

WRITERS: Mapping[str, Writer] = {".json": to_json, ".csv": to_csv, ".md": to_markdown, ".html": to_html}
"""Every format that a report is written in, by suffix."""


def writer_for(path: str | Path) -> Writer:
    """Choose the format by the suffix of *path*; raise RooflineError for one that is not written."""
    suffix = Path(path).suffix.lower()
    if suffix not in WRITERS:
        raise RooflineError(f"cannot write {str(path)!r}: unknown suffix {suffix!r}; use {', '.join(WRITERS)}")
    return WRITERS[suffix]
