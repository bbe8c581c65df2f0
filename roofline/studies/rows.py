"""Write plain rows as CSV, or as a table of text that fits a width."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any

from roofline.costmodel.analysis import Analysis
from roofline.measurement.table import table

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_text(rows: Sequence[Mapping[str, Any]], first: Sequence[str] = ()) -> str:
    """Write one line per row under the keys of all of them, those in *first* first; an absent or unknown figure is empty."""
    text = io.StringIO()
    names = list(dict.fromkeys([*first, *(name for row in rows for name in row)]))
    writer = csv.DictWriter(text, names, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    """Keep a spreadsheet from running a name as a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def statuses(analyses: Iterable[Analysis], width: int = 80) -> Iterator[str]:
    """Say which predictions are calibrated, which borrowed, which neither: by device, and by mode where there are several."""
    held = tuple(analyses)
    modes = len({a.mode for a in held}) > 1
    for status in ("calibrated", "borrowed", "uncalibrated"):
        if found := dict.fromkeys(a.hardware.id + f" {a.mode}" * modes for a in held if a.calibration.status == status):
            yield from wrap(f"{status}: {', '.join(found)}", width, subsequent_indent="  ", break_on_hyphens=False)


def fitted(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, spare: Sequence[str] = (), words: Sequence[str] = (), width: int = 80
) -> Iterator[str]:
    """Lay out *rows* under *header*, without those *spare* columns, the first one first, for which *width* has no room."""
    kept = list(range(len(header)))
    for name in spare:
        if sum(max(len(row[i]) for row in (header, *rows)) + 2 for i in kept) - 2 > width:
            kept.remove(header.index(name))
    yield from table([header[i] for i in kept], [[row[i] for i in kept] for row in rows], words=words, width=width)
