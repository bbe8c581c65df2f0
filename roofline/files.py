"""Write a file whole or not at all."""

import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from roofline.errors import RooflineError


def save(text: str, path: str | Path | None) -> str:
    """Write *text* to *path* through a temporary file beside it, so that no half-written file is left; return *text*."""
    if path is None:
        return text
    with replacing(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))
    return text


@contextmanager
def replacing(path: str | Path) -> Generator[BinaryIO]:
    """Open a temporary file beside *path* that takes its place when the block ends, and is gone when it fails.

    Raises RooflineError for what the system refuses, the OSError being its cause.
    """
    target = Path(path)
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".roofline.", suffix=".tmp")
    except OSError as error:
        raise _unwritable(path, error) from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise _unwritable(path, error) from error
        raise


def _unwritable(path: str | Path, error: OSError) -> RooflineError:
    return RooflineError(f"cannot write {str(path)!r}: {error.strerror or error}; name a file in a folder that exists and is yours")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
