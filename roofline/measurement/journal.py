"""Keep what a calibration measures in a file of JSON lines, so that it can be killed at any moment and go on later.

The first line says what was being measured; each later line is one result, written at once and whole. A line cut off by
a kill is dropped when the file is opened again, and what stood in it is measured again.
"""

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from roofline.errors import RooflineError
from roofline.files import save

SCHEMA = 1
"""Version of the lines; raised whenever one changes its meaning."""

KEPT = 24 * 3600.0
"""Seconds after its beginning during which a calibration goes on, or is used again; machines change."""

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Journal:
    """Where the lines are, when the first of them was written (seconds since 1970), and what the others hold."""

    path: Path
    begun: float
    records: tuple[Record, ...]

    def add(self, record: Record) -> None:
        """Append *record* as one line."""
        line = json.dumps(record, separators=(",", ":"), allow_nan=False) + "\n"
        try:
            with self.path.open("ab") as file:
                file.write(line.encode())
        except OSError as error:
            raise _unwritable(self.path, error) from error


def open_journal(path: Path, key: Record, *, restart: bool = False) -> Journal:
    """Read the journal at *path*, or begin it where there is none for the same *key*, or none younger than a day, or on *restart*."""
    begun, records, whole = (0.0, (), 0) if restart else _read(path, key)
    if not whole or not 0 <= time.time() - begun < KEPT:
        return _begin(path, key)
    try:
        with path.open("r+b") as file:
            file.truncate(whole)  # the next line must not continue one that was cut off
    except OSError as error:
        raise _unwritable(path, error) from error
    return Journal(path, begun, records)


def _begin(path: Path, key: Record) -> Journal:
    begun = time.time()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        save(json.dumps({"schema": SCHEMA, "begun": begun, "key": key}) + "\n", path)
    except RooflineError as error:
        raise _unwritable(path, cast(OSError, error.__cause__)) from error
    return Journal(path, begun, ())


def _read(path: Path, key: Record) -> tuple[float, tuple[Record, ...], int]:
    """Return when a journal for *key* was begun, its records, and the bytes that whole lines take; 0 bytes where there is none."""
    try:
        raw = path.read_bytes()
    except OSError:
        return 0.0, (), 0
    whole = raw.rfind(b"\n") + 1
    first, *others = raw[:whole].split(b"\n")
    header = _parsed(first)
    if header is None or header.get("schema") != SCHEMA or header.get("key") != json.loads(json.dumps(key)):
        return 0.0, (), 0
    begun = header.get("begun")
    if not isinstance(begun, int | float):
        return 0.0, (), 0
    return begun, tuple(record for line in others if (record := _parsed(line)) is not None), whole


def _parsed(line: bytes) -> Record | None:
    with suppress(ValueError):
        value = json.loads(line)
        return cast(Record, value) if isinstance(value, dict) else None
    return None


def _unwritable(path: Path, error: OSError | None) -> RooflineError:
    reason = (error and error.strerror) or "no such place"
    return RooflineError(f"cannot keep what is measured in {str(path)!r}: {reason}; set ROOFLINE_CACHE to a folder that is yours")
