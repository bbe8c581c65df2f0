"""Choose layers by shell patterns over module paths, as in `weights=int8@blocks.5.*`."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

from roofline.errors import RooflineError
from roofline.graph import Graph


@dataclass(frozen=True, slots=True)
class Where:
    """Tell whether a layer is chosen: *text* holds shell patterns apart by commas, of which those after a `!` leave layers out.

    A pattern that matches a module stands for everything inside it too: `blocks.5` and `blocks.5.*` choose the same layers, `*.se`
    every squeeze-excite whole. Without a pattern, or with nothing but exclusions, every other layer is chosen.
    """

    text: str = ""

    @property
    def chosen(self) -> tuple[str, ...]:
        """Patterns of which a layer must match one; none means any layer."""
        return tuple(p for p in self._patterns if not p.startswith("!"))

    @property
    def left_out(self) -> tuple[str, ...]:
        """Patterns of which a layer may match none."""
        return tuple(p[1:] for p in self._patterns if p.startswith("!"))

    def __call__(self, path: str) -> bool:
        """Tell whether the layer at *path* is chosen."""
        if not self.text:
            return True
        chosen = self.chosen
        return (not chosen or _any(chosen, path)) and not _any(self.left_out, path)

    def check(self, graph: Graph) -> None:
        """Raise RooflineError for a pattern that no layer of *graph* matches."""
        paths = dict.fromkeys(op.module for op in graph.ops)
        for pattern in (*self.chosen, *self.left_out):
            if not any(_matches(pattern, path) for path in paths):
                layers = [path for path in paths if path]
                known = f"; its layers are {layers[0]} to {layers[-1]}" if layers else ""
                raise RooflineError(f"no layer of {graph.name or 'this graph'} matches {pattern!r}{known}")

    @property
    def _patterns(self) -> tuple[str, ...]:
        return tuple(p for p in map(str.strip, self.text.split(",")) if p.removeprefix("!"))


EVERYWHERE = Where()
"""Chooses every layer."""


def _any(patterns: tuple[str, ...], path: str) -> bool:
    return any(_matches(pattern, path) for pattern in patterns)


def _matches(pattern: str, path: str) -> bool:
    """Tell whether *pattern* matches the module at *path* or one that it is in."""
    parts = path.split(".")
    return any(fnmatchcase(".".join(parts[:n]), pattern) for n in range(1, len(parts) + 1))
