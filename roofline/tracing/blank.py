"""Build networks without drawing the numbers of their weights, of which the meta device keeps none."""

from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

_WHOLE = frozenset({nn.init.normal_, nn.init.uniform_, nn.init.trunc_normal_, nn.init.constant_, nn.init.ones_, nn.init.zeros_})
_SHAPED = frozenset({
    nn.init.kaiming_normal_, nn.init.kaiming_uniform_, nn.init.xavier_normal_, nn.init.xavier_uniform_, nn.init.orthogonal_,
})  # fmt: skip
"""Those that a vector has none of: they raise for one."""

_METHODS = frozenset({
    torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.fill_, torch.Tensor.zero_, torch.Tensor.erfinv_, torch.Tensor.mul_,
    torch.Tensor.add_, torch.Tensor.clamp_,
})  # fmt: skip


_PRODUCTS = frozenset({torch.Tensor.__mul__, torch.Tensor.__rmul__, torch.Tensor.mul, torch.mul})


class Uninitialised(TorchFunctionMode):
    """Leave out every call that only sets the numbers of a tensor on the meta device, or scales them."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if func in _WHOLE or func in _SHAPED or func in _METHODS:
            tensor, *rest = args or (kwargs.get("tensor"),)
            if (
                isinstance(tensor, torch.Tensor)
                and tensor.is_meta
                and tensor.is_floating_point()
                and _sets_only(func, tensor, (*rest, *kwargs.values()))
            ):
                return tensor
        if func in _PRODUCTS and not kwargs and len(args) == 2 and _scales(*args):
            return torch.empty(args[0].shape, dtype=args[0].dtype, device="meta")
        return func(*args, **kwargs)


def _scales(tensor: Any, factor: Any) -> bool:
    """Tell whether *tensor* is one of floats on the meta device and *factor* a number."""
    plain = isinstance(tensor, torch.Tensor) and tensor.is_meta and tensor.is_floating_point() and tensor.is_contiguous()
    return plain and not tensor.requires_grad and type(factor) in (int, float)


def _sets_only(func: Any, tensor: torch.Tensor, rest: tuple[Any, ...]) -> bool:
    """Tell whether *func*, called on *tensor* and *rest*, succeeds and leaves its shape as it is."""
    if func in _METHODS:
        return not any(isinstance(value, torch.Tensor) for value in rest) and not (tensor.requires_grad and torch.is_grad_enabled())
    return func in _WHOLE or tensor.ndim > 1
