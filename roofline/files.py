"""Write text to a file whole or not at all."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from roofline.errors import RooflineError


def save(text: str, path: str | Path | None) -> str:
    """Write *text* to *path* through a temporary file beside it, so that no half-written file is left; return *text*."""
    if path is None:
        return text
    target = Path(path)
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".roofline.", suffix=".tmp")
    except OSError as error:
        raise _unwritable(path, error) from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            file.write(text)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise _unwritable(path, error) from error
        raise
    return text


def _unwritable(path: str | Path, error: OSError) -> RooflineError:
    return RooflineError(f"cannot write {str(path)!r}: {error.strerror or error}; name a file in a folder that exists and is yours")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
