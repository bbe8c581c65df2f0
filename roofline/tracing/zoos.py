"""Import timm and torchvision without the compiler of PyTorch, half of what they load and of no use to a trace.

They want two functions of it: one to ask on the first `roi_align` on a device, one to mark what the compiler must leave alone.
Both are deferred: whoever calls them gets the compiler then.
"""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial, wraps
from importlib import import_module
from types import ModuleType
from typing import Any

_COMPILER, _UTILITIES = "torch._dynamo", "torch._dynamo.utils"


def load(zoo: str) -> Any:
    """Import the package or module *zoo*."""
    if zoo in sys.modules or _COMPILER in sys.modules:
        return import_module(zoo)
    with _compiler_deferred():
        return import_module(zoo)


@contextmanager
def _compiler_deferred() -> Generator[None]:
    import torch

    disable, torch.compiler.disable = torch.compiler.disable, _Disable(torch.compiler.disable)
    sys.modules[_UTILITIES] = stand_in = _Utilities(_UTILITIES)
    try:
        yield
    finally:
        torch.compiler.disable = disable
        stand_in.withdraw()


class _Disable:
    """Mark functions for the compiler no earlier than they are called."""

    def __init__(self, disable: Callable[..., Any]) -> None:
        self.disable = disable

    def __call__(self, function: Callable[..., Any] | None = None, *options: Any, **more: Any) -> Any:
        if function is None:
            return partial(self, **more)

        @wraps(function)
        def marked(*args: Any, **kwargs: Any) -> Any:
            return self.disable(function, *options, **more)(*args, **kwargs)

        return marked


class _Utilities(ModuleType):
    """Stand in for the module of that name until something of it is used."""

    def withdraw(self) -> None:
        """Leave the place to the real module."""
        if sys.modules.get(_UTILITIES) is self:
            del sys.modules[_UTILITIES]

    @staticmethod
    def is_compile_supported(device: str) -> Any:
        """Ask the real function."""
        return import_module(_UTILITIES).is_compile_supported(device)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self.withdraw()
        return getattr(import_module(_UTILITIES), name)
