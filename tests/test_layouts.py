"""What the rules of `tracing.layouts` promise against what the meta kernels of PyTorch make."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from roofline.tracing.layouts import promised


class Told(TorchDispatchMode):
    """Compare every promise with the kernel, and count them."""

    def __init__(self) -> None:
        super().__init__()
        self.promises = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        promise = promised(func, args, kwargs or {})
        try:
            made = func(*args, **kwargs or {})
        except Exception:
            assert promise is None, f"{func} fails, but a rule tells its result"
            raise
        if isinstance(promise, tuple):
            self.promises += 1
            assert [(t.shape, t.stride(), t.storage_offset()) for t in promise] == [(t.shape, t.stride(), t.storage_offset()) for t in made]
            assert {t.untyped_storage()._cdata for t in promise} == {args[0].untyped_storage()._cdata}
        elif promise is not None:
            self.promises += 1
            assert (promise.shape, promise.stride(), promise.dtype) == (made.shape, made.stride(), made.dtype)
            assert any(promise is a for a in args) == any(made is a for a in args)
        return made


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


IMAGE, NARROW, SCALE = meta(3, 8, 7, 5), meta(1, 1, 7, 5), meta(3, 8, 1, 1)
VECTOR = meta(8)
KNOWN: dict[str, Callable[[], Any]] = {
    "silu in place": lambda: F.silu(IMAGE, inplace=True),
    "gelu": lambda: F.gelu(IMAGE, approximate="tanh"),
    "half": lambda: F.hardswish(IMAGE.half()),
    "add in place": lambda: meta(3, 8, 7, 5).add_(IMAGE),
    "gate": lambda: SCALE * IMAGE,
    "narrow": lambda: IMAGE - NARROW,
    "conv": lambda: F.conv2d(IMAGE, meta(4, 8, 3, 3), meta(4), (2, 1), 1, 2),
    "depthwise": lambda: F.conv2d(IMAGE, meta(16, 1, 5, 5), None, 2, 2, 1, 8),
    "conv1d": lambda: F.conv1d(meta(2, 4, 9), meta(6, 4, 3)),
    "batch norm": lambda: F.batch_norm(IMAGE, VECTOR, VECTOR, VECTOR, VECTOR),
    "layer norm": lambda: F.layer_norm(IMAGE, (7, 5), meta(7, 5)),
    "linear": lambda: F.linear(IMAGE, meta(2, 5), meta(2)),
    "max pool": lambda: F.max_pool2d(IMAGE, 3, 2, 1),
    "global pool": lambda: F.adaptive_avg_pool2d(IMAGE, (1, 1)),
    "mean": lambda: IMAGE.mean((2, -1), keepdim=True),
    "unbind": lambda: meta(3, 4, 5).transpose(0, 1).unbind(1),
    "attention": lambda: F.scaled_dot_product_attention(meta(2, 3, 5, 4), meta(2, 3, 6, 4), meta(2, 3, 6, 7)),
    "attention to the past": lambda: F.scaled_dot_product_attention(*(meta(2, 5, 3, 4).transpose(1, 2) for _ in range(3)), is_causal=True),
    "attention in half": lambda: F.scaled_dot_product_attention(*(meta(2, 5, 3, 64).transpose(1, 2).half() for _ in range(3))),
    "layer norm of an image's channels": lambda: F.layer_norm(meta(3, 8, 7, 5).permute(0, 2, 3, 1), (8,), VECTOR, VECTOR),
    "plain layer norm of an image's channels": lambda: F.layer_norm(meta(3, 8, 7, 5).permute(0, 2, 3, 1), (8,)),
    "layer norm of turned tokens": lambda: F.layer_norm(meta(4, 3, 8).transpose(0, 1), (8,), VECTOR),
    "linear of a first token": lambda: F.linear(meta(3, 9, 5)[:, 0], meta(2, 5), meta(2)),
    "linear of turned tokens": lambda: F.linear(meta(3, 9, 5).transpose(0, 1), meta(2, 5), meta(2)),
    "linear of turned tokens without a bias": lambda: F.linear(meta(3, 9, 5).transpose(0, 1), meta(2, 5)),
    "linear of an image's channels": lambda: F.linear(meta(3, 8, 7, 5).permute(0, 2, 3, 1), meta(2, 8), meta(2)),
    "linear of columns": lambda: F.linear(meta(5, 3).t(), meta(2, 5), meta(2)),
    "average pool": lambda: F.avg_pool2d(IMAGE, 2, 2),
    "padded average pool": lambda: F.avg_pool2d(IMAGE, 3, 2, 1, count_include_pad=False),
    "cat of an expanded row": lambda: torch.cat([meta(1, 1, 8).expand(3, 1, 8), meta(3, 8, 7).transpose(1, 2)], 1),
    "cat of columns": lambda: torch.cat([meta(4, 3).t(), meta(4, 3).t()], 1),
    "cat": lambda: torch.cat([IMAGE, meta(3, 2, 7, 5)], 1),
}
UNKNOWN: dict[str, Callable[[], Any]] = {
    "channels last": lambda: F.hardswish(IMAGE.to(memory_format=torch.channels_last)),
    "two types": lambda: IMAGE * IMAGE.half(),
    "crossed": lambda: NARROW + SCALE,
    "training": lambda: F.batch_norm(IMAGE, VECTOR, VECTOR, VECTOR, VECTOR, training=True),
    "grown in place": lambda: meta(3, 8, 1, 1).add_(IMAGE),
    "wrong norm": lambda: F.layer_norm(IMAGE, (5,), meta(4)),
    "wrong channels": lambda: F.conv2d(IMAGE, meta(4, 7, 3, 3)),
    "too small": lambda: F.conv2d(IMAGE, meta(4, 8, 9, 9)),
    "wrong features": lambda: F.linear(IMAGE, meta(2, 6)),
    "uneven parts": lambda: torch.cat([IMAGE, meta(3, 2, 6, 5)], 1),
    "ceiling": lambda: F.max_pool2d(IMAGE, 2, ceil_mode=True),
    "average by another divisor": lambda: F.avg_pool2d(IMAGE, 2, divisor_override=3),
    "cat of images that are views": lambda: torch.cat([meta(3, 7, 5, 8).permute(0, 3, 1, 2), IMAGE], 1),
    "no dimension to unbind": lambda: IMAGE.unbind(4),
    "attention with a mask": lambda: F.scaled_dot_product_attention(*(meta(2, 3, 5, 4) for _ in range(3)), attn_mask=meta(5, 5)),
    "attention to fewer heads": lambda: F.scaled_dot_product_attention(
        meta(2, 4, 5, 4), meta(2, 2, 5, 4), meta(2, 2, 5, 4), enable_gqa=True
    ),
    "repeated dimension": lambda: IMAGE.mean((2, 2)),
}


@pytest.mark.parametrize("call", KNOWN.values(), ids=KNOWN)
def test_a_rule_promises_what_the_kernel_makes(call: Callable[[], Any]) -> None:
    with torch.inference_mode(), Told() as told:
        call()
    assert told.promises == 1


@pytest.mark.parametrize("call", UNKNOWN.values(), ids=UNKNOWN)
def test_no_rule_speaks_for_what_it_does_not_know_or_what_fails(call: Callable[[], Any]) -> None:
    with torch.inference_mode(), Told() as told, suppress(RuntimeError, IndexError):
        call()
    assert told.promises == 0
