"""The terminal that commands print to: colours on a screen, plain text in a pipe."""

import sys
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def terminal() -> "Console":
    """Return a console on stdout, as wide as the terminal (80 columns in a pipe)."""
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False)


def status(message: str) -> AbstractContextManager[object]:
    """Show *message* with a spinner on stderr while a slow step runs."""
    from rich.console import Console
    from rich.markup import escape

    return Console(stderr=True).status(escape(message))
