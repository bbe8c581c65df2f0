"""Pack plain data with arrays into text that a page can hold and a browser can read back, and read it back here."""

import base64
import gzip
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

TYPES = {"f4": np.float32, "u1": np.uint8, "u2": np.uint16, "u4": np.uint32}
"""Types of the arrays, by the name they have in a pack."""


def pack(data: Any) -> str:
    """Write *data* as base64 of gzip: the length of a JSON text (4 bytes), the text, and the bytes of its arrays.

    In the text an array stands as `{"$": [type, offset, shape]}`. Arrays with the same content are written once. The bytes
    of an array lie in planes, all first bytes before all second ones, which compresses better.
    """
    body = bytearray()
    seen: dict[tuple[bytes, str], int] = {}

    def put(array: NDArray[Any]) -> dict[str, Any]:
        name = next(name for name, kind in TYPES.items() if array.dtype == kind)
        planes = np.ascontiguousarray(array).reshape(-1, 1).view(np.uint8).T.tobytes()
        offset = seen.setdefault((planes, name), len(body))
        if offset == len(body):
            body.extend(planes)
        return {"$": [name, offset, list(array.shape)]}

    text = json.dumps(data, default=put, separators=(",", ":"), allow_nan=False).encode()
    whole = len(text).to_bytes(4, "little") + text + bytes(body)
    return base64.b64encode(gzip.compress(whole, 9, mtime=0)).decode()


def unpack(packed: str) -> Any:
    """Read what `pack` wrote."""
    whole = gzip.decompress(base64.b64decode(packed))
    size = int.from_bytes(whole[:4], "little")
    body = whole[4 + size :]

    def get(found: dict[str, Any]) -> Any:
        if found.keys() != {"$"}:
            return found
        name, offset, shape = found["$"]
        kind = np.dtype(TYPES[name])
        count = int(np.prod(shape)) * kind.itemsize
        planes = np.frombuffer(body[offset : offset + count], dtype=np.uint8).reshape(kind.itemsize, -1)
        return np.ascontiguousarray(planes.T).view(kind).reshape(shape)

    return json.loads(whole[4 : 4 + size], object_hook=get)


def plain(data: Any) -> Any:
    """Return *data* with its arrays as lists."""
    if isinstance(data, np.ndarray):
        return data.tolist()
    if isinstance(data, dict):
        return {name: plain(value) for name, value in data.items()}
    return [plain(value) for value in data] if isinstance(data, list | tuple) else data
