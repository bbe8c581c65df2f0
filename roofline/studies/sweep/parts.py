"""Keep what a sweep has priced, a file for each network, so that it can be killed at any moment and go on later."""

import shutil
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from roofline.errors import RooflineError
from roofline.files import replacing
from roofline.studies.sweep.request import Request
from roofline.studies.sweep.table import from_bytes
from roofline.tracing import cache

if TYPE_CHECKING:
    import pyarrow as pa

KEPT = 30 * 24 * 3600.0
"""Seconds after which the parts of a sweep that nobody went on with are deleted."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Where the rows of each network are: files in *folder* by the key of the request, *held* in memory where there is no key."""

    folder: Path
    request: Request
    held: dict[str, bytes] = field(default_factory=dict[str, bytes])

    def put(self, model: str, data: bytes) -> None:
        """Keep the rows of *model*, whole or not at all; raise RooflineError when there is no room."""
        path = self._path(model)
        if path is None:
            self.held[model] = data
            return
        try:
            with replacing(path) as file:
                file.write(data)
        except RooflineError as error:
            raise _unwritable(self.folder, error.__cause__) from error

    def get(self, model: str) -> "pa.Table | None":
        """Read the rows of *model*; None where they are not kept, or not whole, or fewer than asked for."""
        path = self._path(model)
        try:
            data = self.held.get(model) if path is None else path.read_bytes()
        except OSError:
            return None
        table = from_bytes(data) if data else None
        return table if table is not None and table.num_rows == self.request.rows else None

    def clear(self) -> None:
        """Delete all of it."""
        self.held.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, model: str) -> Path | None:
        key = self.request.key(model)
        return None if key is None else self.folder / f"{key}.arrow"


@contextmanager
def opened(request: Request, models: Sequence[str]) -> Generator[Parts]:
    """Open what is kept of this very sweep, and let nobody else open it meanwhile; raise RooflineError when somebody has."""
    import filelock

    home = cache.folder() / "sweeps"
    folder = home / cache.key("parts", request.digest, tuple(models))
    lock = filelock.FileLock(folder.with_suffix(".lock"), timeout=0)
    try:
        _prune(home)
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout:
        rule = "let it end, or stop it and give the command again"
        raise RooflineError(f"this very sweep is running in another process already; {rule}") from None
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        yield Parts(folder, request)
    finally:
        if not folder.exists():
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _prune(home: Path) -> None:
    """Delete what nobody went on with."""
    for path in home.iterdir() if home.is_dir() else ():
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > KEPT:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _unwritable(folder: Path, error: BaseException | None) -> RooflineError:
    reason = (isinstance(error, OSError) and error.strerror) or "no such place"
    return RooflineError(
        f"cannot keep what is priced in {str(folder)!r}: {reason}; free some space there or set ROOFLINE_CACHE to another folder, and give "
        "the same command again: what was kept is not priced twice"
    )
