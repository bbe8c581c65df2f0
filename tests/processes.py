"""Start processes that tests interrupt."""

import signal


def interruptible() -> None:
    """Let SIGINT interrupt the process about to start: what a shell runs in the background ignores it, as do its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
