"""Write the results of a study to the files that were asked for, each by its suffix, and print what was written."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from roofline.errors import RooflineError
from roofline.files import save

Writers = Mapping[str, Callable[[], str]]
"""What makes the text of a file, by suffix."""


def check_suffixes(outputs: Sequence[str], suffixes: Iterable[str]) -> None:
    """Refuse a file that could not be written in the end before anything slow begins."""
    known = tuple(suffixes)
    for path in outputs:
        if Path(path).suffix.lower() not in known:
            raise RooflineError(f"cannot write {path!r}: unknown suffix; use {', '.join(known)}")


def emit(lines: Iterable[str], outputs: Sequence[str], as_json: bool, writers: Writers) -> None:
    """Save each of *outputs* by its writer, then print JSON alone, or *lines* and the files written."""
    for path in outputs:
        save(writers[Path(path).suffix.lower()](), path)
    if as_json:
        sys.stdout.write(writers[".json"]())
        return
    for line in (*lines, *(f"wrote {path}" for path in outputs)):
        print(line.rstrip())
