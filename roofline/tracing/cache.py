"""Keep traced graphs on disk, so that a second analysis of the same network needs no torch.

One gzipped JSON file per key in the user's cache folder; written to a temporary name and renamed, so a reader never
sees half a file; the least recently used files go when the folder outgrows its limit.
"""

import gzip
import hashlib
import os
import tempfile
import zlib
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from roofline.errors import RooflineError
from roofline.graph import SCHEMA, Graph

DEFAULT_LIMIT = 512 * 2**20
"""Bytes the folder may hold; set ROOFLINE_CACHE_LIMIT to another number of bytes."""

_TRACER = 5  # raised when the tracer records the same network differently


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """Where the cache is and how much it holds: graphs, bytes used, bytes allowed."""

    folder: Path
    graphs: int
    size: int
    limit: int


def folder() -> Path:
    """Return the cache folder: $ROOFLINE_CACHE, or `roofline/graphs` in the user's cache folder."""
    if chosen := os.environ.get("ROOFLINE_CACHE"):
        return Path(chosen)
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("roofline", appauthor=False)) / "graphs"


def key(name: str, *what: object) -> str:
    """Hash everything that changes the graph: the spec, the zoo and torch versions, the schema.

    An exported program counts by its bytes. User code may import anything, so its graphs have no key: they are never kept.
    """
    parts: list[object] = [SCHEMA, _TRACER, name, what, _versions()]
    if name.endswith(".pt2"):
        with suppress(OSError):
            parts.append(hashlib.sha256(Path(name).read_bytes()).hexdigest())
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def load(entry: str) -> Graph | None:
    """Read the graph kept under *entry*; a corrupt one is dropped. Return None when there is none."""
    path = folder() / f"{entry}.json.gz"
    try:
        graph = Graph.from_json(gzip.decompress(path.read_bytes()).decode())
    except FileNotFoundError:
        return None
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, RooflineError):
        with suppress(OSError):
            path.unlink()
        return None
    with suppress(OSError):
        os.utime(path)
    return graph


def store(entry: str, graph: Graph) -> None:
    """Keep *graph* under *entry*; a folder that cannot be written only means that nothing is kept."""
    with suppress(OSError):
        folder().mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder(), suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(gzip.compress(graph.to_json().encode(), compresslevel=3, mtime=0))
            Path(temporary).replace(folder() / f"{entry}.json.gz")
        except BaseException:
            Path(temporary).unlink()
            raise
        _evict()


def info() -> CacheInfo:
    """Count what the cache holds."""
    sizes = [size for _, size, _ in _files()]
    return CacheInfo(folder(), len(sizes), sum(sizes), _limit())


def clear() -> CacheInfo:
    """Delete every kept graph and return what there was."""
    before = info()
    for path in (*(path for _, _, path in _files()), *folder().glob("*.tmp")):  # what a killed process left is a .tmp
        with suppress(OSError):
            path.unlink()
    return before


def _files() -> list[tuple[float, int, Path]]:
    found: list[tuple[float, int, Path]] = []
    with suppress(OSError):
        for path in folder().glob("*.json.gz"):
            with suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
    return sorted(found)


def _evict() -> None:
    files = _files()
    excess = sum(size for _, size, _ in files) - _limit()
    for _, size, path in files:
        if excess <= 0:
            return
        path.unlink(missing_ok=True)
        excess -= size


def _limit() -> int:
    text = os.environ.get("ROOFLINE_CACHE_LIMIT", "")
    return int(text) if text.isdigit() else DEFAULT_LIMIT


@lru_cache(maxsize=1)
def _versions() -> tuple[str, ...]:
    return tuple(_version(package) for package in ("torch", "timm", "torchvision"))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
