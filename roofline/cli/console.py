"""The terminal that commands print to: colours on a screen, plain text in a pipe."""

import sys
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

PATIENCE = 2.0
"""Seconds before a bar appears."""


def terminal() -> "Console":
    """Return a console on stdout, as wide as the terminal (80 columns in a pipe)."""
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False)


def status(message: str) -> AbstractContextManager[object]:
    """Show *message* with a spinner on stderr while a slow step runs."""
    from rich.console import Console
    from rich.markup import escape

    return Console(stderr=True).status(escape(message))


@contextmanager
def progress() -> Generator[Callable[[str, float], None], None, None]:
    """Show a bar on a terminal's stderr once it has taken two seconds: what is being done, and which share is done."""
    if not sys.stderr.isatty():
        yield lambda _what, _share: None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %"))
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task, begun, started = bar.add_task("starting", total=1.0), time.monotonic(), [False]

    def tell(what: str, share: float) -> None:
        bar.update(task, description=escape(what), completed=share)
        if not started[0] and time.monotonic() - begun >= PATIENCE:
            bar.start()
            started[0] = True

    try:
        yield tell
    finally:
        if started[0]:
            bar.stop()
