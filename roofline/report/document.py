"""Put a page together: its style and scripts, the plotting library once, and data; all in the file, nothing from outside."""

import base64
import gzip
from collections.abc import Mapping, Sequence
from functools import lru_cache
from html import escape
from pathlib import Path

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
"""What the browser lets the page do: run what is in it, and load nothing."""

ASSETS = Path(__file__).parent / "page"


def document(title: str, body: str, *, styles: Sequence[str], scripts: Sequence[str], packs: Mapping[str, str] | None = None) -> str:
    """Write a page of *body*, with the named files of *styles* and *scripts*, and *packs* by id, which `inflate(id)` reads there.

    The plotting library is among the packs, compressed; `loadPlotly()` runs it.
    """
    held = {"plotly": plotly(), **(packs or {})}
    data = "".join(f'<script type="application/gzip" id="{name}">{text}</script>' for name, text in held.items())
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{escape(title)}</title><style>{_joined(styles)}</style></head><body>{body}{data}"
        f'<script>"use strict";\n{_joined(scripts)}</script></body></html>\n'
    )


@lru_cache(maxsize=1)
def plotly() -> str:
    """Return plotly.js as base64 of gzip."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode()


def _joined(names: Sequence[str]) -> str:
    return "\n".join((ASSETS / name).read_text(encoding="utf-8") for name in names)
