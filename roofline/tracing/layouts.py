"""Tell the shape that common operators make of plain tensors, as their meta kernels are slow Python (a batch norm: a millisecond).

A rule gives the shape of the one new tensor that an operator returns, or None where it does not know: then the kernel runs, which also
raises the errors. Rules see float tensors of one type only, laid out in order, but for those of ANYHOW; what they promise is in order.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

Shape = tuple[int, ...]
Rule = Callable[..., Shape | None]

_ELEMENTWISE = (
    "celu", "elu", "gelu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "mish", "relu", "relu6", "selu", "sigmoid", "silu",
    "softplus", "tanh",
)  # fmt: skip
_RULES: dict[str, Rule] = {}
_FLOATS = frozenset({torch.float32, torch.float16, torch.bfloat16, torch.float64})
_KINDS = (Tensor, torch.nn.Parameter)


def promised(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | tuple[Tensor, ...] | None:
    """Make what *func* returns for these arguments on the meta device, where a rule tells; None elsewhere.

    An operator that works in place returns its first argument, as it does on any device; `unbind` returns views, made one by one.
    """
    if func is torch.ops.aten.unbind.int and not kwargs and isinstance(args[0], Tensor):
        x, dim = args[0], args[1] if len(args) > 1 else 0
        return tuple(x.select(dim, i) for i in range(x.shape[dim])) if -x.ndim <= dim < x.ndim else None
    rule = rule_of(func)
    if rule is None:
        return None
    tensors = [t for a in args for t in (a if isinstance(a, (list, tuple)) else (a,)) if isinstance(t, Tensor)]
    if not tensors or not _plain(tensors, views=rule in ANYHOW) or any(isinstance(v, Tensor) for v in kwargs.values()):
        return None
    shape = rule(*args, **kwargs)
    if shape is None:
        return None
    if rule is _in_place:
        return tensors[0]
    return torch.empty(shape, dtype=tensors[0].dtype, device="meta")


@cache
def rule_of(func: Any) -> Rule | None:
    """Find the rule for an operator of PyTorch."""
    return _RULES.get(func.name().removeprefix("aten::"))


def _plain(tensors: Sequence[Tensor], *, views: bool) -> bool:
    """Tell whether rules may speak of *tensors*; with *views*, of those in any order too."""
    dtype = tensors[0].dtype
    if dtype not in _FLOATS or any(type(t) not in _KINDS or t.dtype != dtype for t in tensors):
        return False
    return all(views or t.stride() == _in_order(t.shape) for t in tensors)


@cache
def _in_order(shape: Shape) -> Shape:
    """Strides of a tensor of *shape* whose last dimension is the innermost."""
    return tuple(math.prod(max(n, 1) for n in shape[i + 1 :]) for i in range(len(shape)))


def _of(*names: str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        _RULES.update(dict.fromkeys(names, rule))
        return rule

    return register


@_of(*_ELEMENTWISE)
def _elementwise(x: Tensor, *_: Any, **options: Any) -> Shape | None:
    return x.shape


@_of(*(f"{name}_" for name in _ELEMENTWISE), "add_.Tensor", "mul_.Tensor", "sub_.Tensor", "div_.Tensor")
def _in_place(x: Tensor, y: Any = None, *_: Any, **options: Any) -> Shape | None:
    """Of *x* itself, where an operand fits into it."""
    return x.shape if not isinstance(y, Tensor) or y.shape == x.shape else None


@_of("add.Tensor", "mul.Tensor", "sub.Tensor", "div.Tensor")
def _binary(x: Any, y: Any, **options: Any) -> Shape | None:
    """Of like shapes, or where one broadcasts into the other."""
    if not isinstance(y, Tensor) or not isinstance(x, Tensor) or x.ndim != y.ndim:
        return None
    if all(m == n or m == 1 for m, n in zip(y.shape, x.shape, strict=True)):
        return x.shape
    return y.shape if all(m == n or m == 1 for m, n in zip(x.shape, y.shape, strict=True)) else None


@_of("batch_norm")
def _batch_norm(x: Tensor, weight: Any, bias: Any, mean: Any, variance: Any, training: bool, *_: Any) -> Shape | None:
    known = x.ndim >= 2 and not training and mean is not None and variance is not None
    return x.shape if known and all(t is None or t.shape == x.shape[1:2] for t in (weight, bias, mean, variance)) else None


@_of("layer_norm")
def _layer_norm(x: Tensor, over: Sequence[int], weight: Any = None, bias: Any = None, *_: Any) -> Shape | None:
    sizes = tuple(over)
    known = bool(sizes) and x.shape[-len(sizes) :] == sizes
    return x.shape if known and all(t is None or t.shape == sizes for t in (weight, bias)) else None


@_of("linear")
def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Shape | None:
    known = x.ndim and weight.ndim == 2 and x.shape[-1] == weight.shape[1] and (bias is None or bias.shape == weight.shape[:1])
    return (*x.shape[:-1], weight.shape[0]) if known else None


@_of("conv1d", "conv2d", "conv3d")
def _convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Shape | None:
    windows = _windows(x, weight.shape[2:], stride, padding, dilation)
    outputs = weight.shape[0]
    known = x.ndim == weight.ndim and x.shape[1] == weight.shape[1] * groups and outputs % groups == 0
    return (x.shape[0], outputs, *windows) if known and windows and (bias is None or bias.shape == (outputs,)) else None


@_of("scaled_dot_product_attention")
def _attention(query: Tensor, key: Tensor, value: Tensor, mask: Any = None, dropout: float = 0.0, *_: Any, **options: Any) -> Shape | None:
    known = query.ndim == key.ndim == value.ndim >= 3 and mask is None and not dropout and not options.get("enable_gqa")
    alike = query.shape[:-2] == key.shape[:-2] == value.shape[:-2] and query.shape[-1] == key.shape[-1] and key.shape[-2] == value.shape[-2]
    return (*query.shape[:-1], value.shape[-1]) if known and alike else None


@_of("max_pool2d")
def _max_pool(x: Tensor, window: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil: bool = False) -> Shape | None:
    window = _each(window)
    windows = _windows(x, window, stride or window, padding, dilation)
    known = x.ndim == 4 and not ceil and all(2 * p <= w for p, w in zip(_each(padding), window, strict=True))
    return (*x.shape[:2], *windows) if windows and known else None


@_of("avg_pool2d")
def _avg_pool(
    x: Tensor, window: Any, stride: Any = (), padding: Any = 0, ceil: bool = False, padded: bool = True, divisor: int | None = None
) -> Shape | None:
    return _max_pool(x, window, stride, padding, 1, ceil) if divisor is None else None


@_of("adaptive_avg_pool2d")
def _adaptive_pool(x: Tensor, size: Any) -> Shape | None:
    return (*x.shape[:2], *size) if x.ndim == 4 and len(size) == 2 and min(*size, *x.shape) > 0 else None


@_of("mean.dim")
def _mean(x: Tensor, dims: Any, keep: bool = False, **options: Any) -> Shape | None:
    gone = {d % x.ndim for d in dims} if dims and x.ndim and all(-x.ndim <= d < x.ndim for d in dims) else set[int]()
    if not gone or len(gone) != len(dims) or options.get("dtype") is not None:
        return None
    return tuple(1 if d in gone else n for d, n in enumerate(x.shape) if keep or d not in gone)


@_of("cat")
def _cat(tensors: Sequence[Tensor], dim: int = 0) -> Shape | None:
    first = tensors[0].shape
    if len(first) > 3 and any(t.stride() != _in_order(t.shape) for t in tensors):
        return None  # of images, the result takes their order
    if not -len(first) <= dim < len(first):
        return None
    dim %= len(first)
    fits = all(t.ndim == len(first) and t.shape[:dim] == first[:dim] and t.shape[dim + 1 :] == first[dim + 1 :] for t in tensors)
    return (*first[:dim], sum(t.shape[dim] for t in tensors), *first[dim + 1 :]) if fits else None


def _windows(x: Tensor, window: Sequence[int], stride: Any, padding: Any, dilation: Any) -> Shape | None:
    """Count the places of *window* along each of the last dimensions of *x*; None unless each has one."""
    settings = [_each(value, len(window)) for value in (stride, padding, dilation)]
    if x.ndim != len(window) + 2 or any(len(s) != len(window) for s in settings) or min(settings[0]) < 1 or min(settings[1]) < 0:
        return None
    rows = zip(x.shape[2:], window, *settings, strict=True)
    places = tuple((n + 2 * p - d * (w - 1) - 1) // s + 1 for n, w, s, p, d in rows)
    return places if min(*places, *settings[2], *window) > 0 else None


def _each(value: Any, count: int = 2) -> Sequence[int]:
    """Repeat a single size for each dimension."""
    if isinstance(value, int):
        return (value,) * count
    return tuple(value) * count if len(value) == 1 else tuple(value)


ANYHOW = (_cat, _attention, _linear, _layer_norm)
"""Rules whose tensors may be views in another order."""
