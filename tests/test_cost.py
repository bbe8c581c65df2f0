"""Counts every operator another way: by hand on tiny shapes, by plain loops, and by PyTorch's own counter on whole networks."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision.ops
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import Calls, Shape, cnns, ints, kinds_of, only, traced
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from roofline.cost import ELEMENTWISE, KINDS, RULES, Cost, cost, rule, work
from roofline.tracing.models import build
from roofline.tracing.spec import ModelSpec
from roofline.tracing.trace import WHOLE, record

aten = torch.ops.aten
FP32, INT64 = 4, 8  # bytes
X: Shape = (2, 6)  # what most functions below are called on: 12 elements, 48 bytes


@dataclass(frozen=True)
class Oracle:
    """An op on a tiny input, and what it costs, worked out by hand."""

    op: str
    model: nn.Module | Callable[..., Any]
    inputs: Sequence[Shape | torch.Tensor]
    kind: str
    macs: float
    matrix: float
    vector: float
    read: float
    written: float
    weights: Sequence[Shape] = ()


def bools(*shape: int) -> torch.Tensor:
    """Make a meta tensor of bool."""
    return torch.empty(shape, dtype=torch.bool, device="meta")


def complexes(*shape: int) -> torch.Tensor:
    """Make a meta tensor of complex64."""
    return torch.empty(shape, dtype=torch.complex64, device="meta")


CONVS = [
    # 3 filters at 3 places, 2 channels x 3 taps each; reads 10 + 18 weights + 3 biases
    Oracle("conv1d", nn.Conv1d(2, 3, 3), [(1, 2, 5)], "conv", 54, 108, 0, 124, 36),
    # 4 filters at 3 x 3 places, 2 channels x 9 taps each (taps on the padding count); reads 50 + 72 weights
    Oracle("conv2d", nn.Conv2d(2, 4, 3, stride=2, padding=1, bias=False), [(1, 2, 5, 5)], "conv", 648, 1296, 0, 488, 144),
    # the window spans 5 pixels, so it has 3 x 3 places on 7 x 7; 9 taps at each
    Oracle("conv2d", nn.Conv2d(1, 1, 3, dilation=2, bias=False), [(1, 1, 7, 7)], "conv", 81, 162, 0, 232, 36),
    # 4 pixels, each a 4 x 6 matrix-vector product
    Oracle("conv2d", nn.Conv2d(4, 6, 1, bias=False), [(1, 4, 2, 2)], "pointwise conv", 96, 192, 0, 160, 96),
    # 9 places, 6 filters, each sees 2 of the 4 channels through 9 taps; 6 x 2 x 9 = 108 weights
    Oracle("conv2d", nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=False), [(1, 4, 3, 3)], "grouped conv", 972, 1944, 0, 576, 216),
    # 16 places x 3 channels x 9 taps, on the vector engine: nothing is reused between channels
    Oracle("conv2d", nn.Conv2d(3, 3, 3, padding=1, groups=3, bias=False), [(1, 3, 4, 4)], "depthwise conv", 432, 0, 864, 300, 192),
    # two filters for each of 2 channels: 4 filters x 4 places x 4 taps
    Oracle("conv2d", nn.Conv2d(2, 4, 2, groups=2, bias=False), [(1, 2, 3, 3)], "depthwise conv", 64, 0, 128, 136, 64),
    # an image without a batch dimension: 2 filters at 2 x 2 places x 4 taps
    Oracle("conv2d", nn.Conv2d(1, 2, 2, bias=False), [(1, 3, 3)], "conv", 32, 64, 0, 68, 32),
    # 2 filters at 2 x 2 x 2 places x 8 taps
    Oracle("conv3d", nn.Conv3d(1, 2, 2, bias=False), [(1, 1, 3, 3, 3)], "conv", 128, 256, 0, 172, 64),
    # each of 2 x 4 input values is spread over 3 channels x 2 taps; the output is 3 x 8
    Oracle("conv_transpose1d", nn.ConvTranspose1d(2, 3, 2, stride=2, bias=False), [(1, 2, 4)], "conv", 48, 96, 0, 80, 96),
    # each of 2 x 2 x 2 input values is spread over 3 channels x 9 taps; the output is 3 x 5 x 5
    Oracle("conv_transpose2d", nn.ConvTranspose2d(2, 3, 3, stride=2, bias=False), [(1, 2, 2, 2)], "conv", 216, 432, 0, 248, 300),
    # each of 2 x 2 x 2 input values is spread over 4 taps of its own channel; the output is 2 x 4 x 4
    Oracle("conv_transpose2d", nn.ConvTranspose2d(2, 2, 2, stride=2, groups=2, bias=False), [(1, 2, 2, 2)],
           "depthwise conv", 32, 0, 64, 64, 128),
    # each of 8 input values is spread over 8 taps; the output is 4 x 4 x 4
    Oracle("conv_transpose3d", nn.ConvTranspose3d(1, 1, 2, stride=2, bias=False), [(1, 1, 2, 2, 2)], "conv", 64, 128, 0, 64, 256),
    # 2 filters at 2 x 2 places x 4 taps
    Oracle("convolution", lambda x, w: torch.convolution(x, w, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1), [(1, 1, 3, 3)],
           "conv", 32, 64, 0, 68, 32, weights=[(2, 1, 2, 2)]),
    # transposed: each of 9 values is spread over 2 channels x 4 taps; the output is 2 x 4 x 4
    Oracle("convolution", lambda x, w: torch.convolution(x, w, None, [1, 1], [0, 0], [1, 1], True, [0, 0], 1), [(1, 1, 3, 3)],
           "conv", 72, 144, 0, 68, 128, weights=[(1, 2, 2, 2)]),
    Oracle("_convolution", lambda x, w: aten._convolution(x, w, None, [1], [0], [1], False, [0], 1, *[False] * 4), [(1, 1, 3, 3)],
           "conv", 32, 64, 0, 68, 32, weights=[(2, 1, 2, 2)]),
    # 3 filters at 2 x 2 places x 18 taps; each of 2 channels x 9 taps is sampled at 4 places from 4 neighbours (4 multiplications,
    # 3 additions); reads 32 + 54 weights + 72 offsets, the mask and bias that torchvision makes up: 1 + 3
    Oracle("torchvision.deform_conv2d", torchvision.ops.deform_conv2d, [(1, 2, 4, 4), (1, 18, 2, 2)],
           "conv", 216, 432, 504, 648, 48, weights=[(3, 2, 3, 3)]),
]  # fmt: skip

PRODUCTS = [
    # 2 rows x 5 columns, 3 terms each; reads 6 + 15 weights + 5 biases
    Oracle("linear", nn.Linear(3, 5), [(2, 3)], "linear", 30, 60, 0, 104, 40),
    Oracle("addmm", torch.addmm, [(5,), (2, 3), (3, 5)], "linear", 30, 60, 0, 104, 40),
    Oracle("mm", torch.mm, [(2, 3), (3, 5)], "linear", 30, 60, 0, 84, 40),
    Oracle("mv", torch.mv, [(2, 3), (3,)], "linear", 6, 12, 0, 36, 8),
    Oracle("addmv", torch.addmv, [(2,), (2, 3), (3,)], "linear", 6, 12, 0, 44, 8),
    Oracle("dot", torch.dot, [(3,), (3,)], "linear", 3, 6, 0, 24, 4),
    # the sum of 3 products, each of 2 rows x 4 columns x 5 terms
    Oracle("addbmm", torch.addbmm, [(2, 4), (3, 2, 5), (3, 5, 4)], "matmul", 120, 240, 0, 392, 32),
    # 2 products of 3 rows x 5 columns x 4 terms
    Oracle("bmm", torch.bmm, [(2, 3, 4), (2, 4, 5)], "matmul", 120, 240, 0, 256, 120),
    Oracle("baddbmm", torch.baddbmm, [(2, 3, 5), (2, 3, 4), (2, 4, 5)], "matmul", 120, 240, 0, 376, 120),
    # broadcast to 2 x 5 products of 3 rows x 6 columns x 4 terms; reads 24 + 120
    Oracle("matmul", torch.matmul, [(2, 1, 3, 4), (5, 4, 6)], "matmul", 720, 1440, 0, 576, 720),
    Oracle("matmul", torch.matmul, [(3, 4), (4,)], "matmul", 12, 24, 0, 64, 12),
    Oracle("matmul", torch.matmul, [(4,), (4, 5)], "matmul", 20, 40, 0, 96, 20),
    Oracle("matmul", torch.matmul, [(4,), (4,)], "matmul", 4, 8, 0, 32, 4),
    # a matrix that the whole batch shares is a linear layer
    Oracle("matmul", torch.matmul, [(2, 3)], "linear", 30, 60, 0, 84, 40, weights=[(3, 5)]),
    Oracle("matmul", lambda x, w: x @ w.t(), [(2, 3)], "linear", 30, 60, 0, 84, 40, weights=[(5, 3)]),
    # 2 heads x 3 queries x 5 keys = 30 pairs, 4 terms for the score and 6 values each; softmax takes 5 operations a pair
    Oracle("scaled_dot_product_attention", F.scaled_dot_product_attention, [(1, 2, 3, 4), (1, 2, 5, 4), (1, 2, 5, 6)],
           "attention", 300, 600, 150, 496, 144),
    # 4 query heads share 2 key heads: 4 x 3 x 5 = 60 pairs, 4 + 4 terms
    Oracle("scaled_dot_product_attention", lambda q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True),
           [(1, 4, 3, 4), (1, 2, 5, 4), (1, 2, 5, 4)], "attention", 480, 960, 300, 512, 192),
    # 2 heads x 3 x 3 = 18 pairs, 4 + 4 terms; writes 24 values and 6 log-sum-exps
    Oracle("_scaled_dot_product_flash_attention_for_cpu", lambda q, k, v: aten._scaled_dot_product_flash_attention_for_cpu(q, k, v),
           [(1, 2, 3, 4)] * 3, "attention", 144, 288, 90, 288, 120),
    # no log-sum-exps, and 2 such numbers
    Oracle("_scaled_dot_product_efficient_attention", lambda q, k, v: aten._scaled_dot_product_efficient_attention(q, k, v, None, False)[0],
           [(1, 2, 3, 4)] * 3, "attention", 144, 288, 90, 288, 112),
    # 24 values, 6 log-sum-exps, and 3 numbers of 8 bytes that would seed a dropout
    Oracle("_scaled_dot_product_flash_attention", lambda q, k, v: aten._scaled_dot_product_flash_attention(q, k, v)[0],
           [(1, 2, 3, 4)] * 3, "attention", 144, 288, 90, 288, 144),
    # 4 steps x 2 sequences, each through 20 x 3 and 20 x 5 weights; reads 24 + 200 weights and biases + 20 of initial state;
    # writes 4 x 2 x 5 outputs and 20 of final state
    Oracle("lstm", nn.LSTM(3, 5, batch_first=True), [(2, 4, 3)], "linear", 1280, 2560, 0, 976, 240),
    # 15 x 3 and 15 x 5 weights; reads 24 + 150 + 10, writes 40 + 10
    Oracle("gru", nn.GRU(3, 5, batch_first=True), [(2, 4, 3)], "linear", 960, 1920, 0, 736, 200),
    # 5 x 3 and 5 x 5 weights; reads 24 + 50 + 10
    Oracle("rnn_tanh", nn.RNN(3, 5, batch_first=True), [(2, 4, 3)], "linear", 320, 640, 0, 336, 200),
    Oracle("rnn_relu", nn.RNN(3, 5, batch_first=True, nonlinearity="relu"), [(2, 4, 3)], "linear", 320, 640, 0, 336, 200),
    # two layers, two directions: 4 x 2 steps through 2 x (20 x 3 + 20 x 5) + 2 x (20 x 10 + 20 x 5) = 920 weights;
    # reads 24 + 920 + 8 x 20 biases + 2 x 40 of state, writes 80 + 80
    Oracle("lstm", nn.LSTM(3, 5, num_layers=2, bidirectional=True, batch_first=True), [(2, 4, 3)], "linear", 7360, 14720, 0, 4736, 640),
]  # fmt: skip

POOLS = [
    # 3 windows of 2
    Oracle("avg_pool1d", nn.AvgPool1d(2), [(1, 1, 6)], "pool", 0, 0, 6, 24, 12),
    Oracle("max_pool1d", nn.MaxPool1d(2), [(1, 1, 6)], "pool", 0, 0, 6, 24, 12),
    # 2 x 2 windows of 2 x 3
    Oracle("avg_pool2d", nn.AvgPool2d((2, 3)), [(1, 1, 4, 6)], "pool", 0, 0, 24, 96, 16),
    # 3 x 3 windows of 2 x 2, one pixel apart
    Oracle("max_pool2d", nn.MaxPool2d(2, 1), [(1, 1, 4, 4)], "pool", 0, 0, 36, 64, 36),
    Oracle("max_pool2d_with_indices", nn.MaxPool2d(2, return_indices=True), [(1, 1, 4, 4)], "pool", 0, 0, 16, 64, 48),
    Oracle("avg_pool3d", nn.AvgPool3d(2), [(1, 1, 2, 2, 4)], "pool", 0, 0, 16, 64, 8),
    Oracle("max_pool3d", nn.MaxPool3d(2), [(1, 1, 2, 2, 4)], "pool", 0, 0, 16, 64, 8),
    Oracle("max_pool3d_with_indices", nn.MaxPool3d(2, return_indices=True), [(1, 1, 2, 2, 4)], "pool", 0, 0, 16, 64, 24),
    # 2 x 2 windows of 2 x 2 at random places, which it reads: 25 + 2; writes 4 values and 4 indices
    Oracle("fractional_max_pool2d", nn.FractionalMaxPool2d(2, output_size=(2, 2)), [(1, 1, 5, 5)], "pool", 0, 0, 16, 108, 48),
    # every input is added once
    Oracle("adaptive_avg_pool1d", nn.AdaptiveAvgPool1d(2), [(1, 2, 4)], "pool", 0, 0, 8, 32, 16),
    Oracle("adaptive_avg_pool2d", nn.AdaptiveAvgPool2d(1), [(1, 2, 4, 4)], "pool", 0, 0, 32, 128, 8),
    Oracle("adaptive_avg_pool3d", nn.AdaptiveAvgPool3d(1), [(1, 2, 2, 2, 2)], "pool", 0, 0, 16, 64, 8),
    Oracle("_adaptive_avg_pool2d", lambda x: aten._adaptive_avg_pool2d(x, [2, 2]), [(1, 2, 4, 4)], "pool", 0, 0, 32, 128, 32),
    Oracle("_adaptive_avg_pool3d", lambda x: aten._adaptive_avg_pool3d(x, [1, 1, 1]), [(1, 2, 2, 2, 2)], "pool", 0, 0, 16, 64, 8),
    # these write values and indices
    Oracle("adaptive_max_pool1d", nn.AdaptiveMaxPool1d(2), [(1, 2, 4)], "pool", 0, 0, 8, 32, 48),
    Oracle("adaptive_max_pool2d", nn.AdaptiveMaxPool2d(1), [(1, 2, 4, 4)], "pool", 0, 0, 32, 128, 24),
    Oracle("adaptive_max_pool3d", nn.AdaptiveMaxPool3d(1), [(1, 2, 2, 2, 2)], "pool", 0, 0, 16, 64, 24),
    # a mean over the image is a pool, one over a row is a reduction
    Oracle("mean", lambda x: x.mean((2, 3)), [(1, 2, 4, 4)], "pool", 0, 0, 32, 128, 8),
]  # fmt: skip

# Reductions of 12 elements to 2 sums, 2 indices or 2 truths; scans to 12.
REDUCTIONS = [
    Oracle("mean", lambda x: x.mean(1), [X], "reduction", 0, 0, 12, 48, 8),
    Oracle("sum", lambda x: x.sum(1), [X], "reduction", 0, 0, 12, 48, 8),
    Oracle("sum", lambda x: x.sum(), [X], "reduction", 0, 0, 12, 48, 4),
    Oracle("nansum", lambda x: x.nansum(1), [X], "reduction", 0, 0, 12, 48, 8),
    Oracle("prod", lambda x: x.prod(1), [X], "reduction", 0, 0, 12, 48, 8),
    Oracle("amax", lambda x: x.amax(1), [X], "reduction", 0, 0, 12, 48, 8),
    Oracle("amin", lambda x: x.amin(1), [X], "reduction", 0, 0, 12, 48, 8),
    Oracle("aminmax", lambda x: torch.aminmax(x, dim=1), [X], "reduction", 0, 0, 24, 48, 16),
    Oracle("max", lambda x: x.max(1), [X], "reduction", 0, 0, 12, 48, 24),
    Oracle("min", lambda x: x.min(1), [X], "reduction", 0, 0, 12, 48, 24),
    # the form with two tensors compares them element by element
    Oracle("maximum", torch.max, [X, X], "elementwise", 0, 0, 12, 96, 48),
    Oracle("median", lambda x: x.median(1), [X], "reduction", 0, 0, 12, 48, 24),
    Oracle("argmax", lambda x: x.argmax(1), [X], "reduction", 0, 0, 12, 48, 16),
    Oracle("argmin", lambda x: x.argmin(1), [X], "reduction", 0, 0, 12, 48, 16),
    Oracle("any", lambda x: x.any(1), [bools(2, 6)], "reduction", 0, 0, 12, 12, 2),
    Oracle("all", lambda x: x.all(1), [bools(2, 6)], "reduction", 0, 0, 12, 12, 2),
    Oracle("count_nonzero", lambda x: x.count_nonzero(1), [X], "reduction", 0, 0, 12, 48, 16),
    # mean, difference, square, sum
    Oracle("var", lambda x: x.var(1), [X], "reduction", 0, 0, 48, 48, 8),
    Oracle("std", lambda x: x.std(1), [X], "reduction", 0, 0, 48, 48, 8),
    Oracle("var_mean", lambda x: torch.var_mean(x, 1), [X], "reduction", 0, 0, 48, 48, 16),
    Oracle("std_mean", lambda x: torch.std_mean(x, 1), [X], "reduction", 0, 0, 48, 48, 16),
    # square, sum
    Oracle("linalg_vector_norm", lambda x: torch.linalg.vector_norm(x, dim=1), [X], "reduction", 0, 0, 24, 48, 8),
    Oracle("norm", lambda x: aten.norm.ScalarOpt_dim(x, 2, [1]), [X], "reduction", 0, 0, 24, 48, 8),
    # maximum, difference, exponential, sum
    Oracle("logsumexp", lambda x: x.logsumexp(1), [X], "reduction", 0, 0, 48, 48, 8),
    Oracle("logcumsumexp", lambda x: x.logcumsumexp(1), [X], "reduction", 0, 0, 48, 48, 48),
    Oracle("cumsum", lambda x: x.cumsum(1), [X], "reduction", 0, 0, 12, 48, 48),
    Oracle("cumprod", lambda x: x.cumprod(1), [X], "reduction", 0, 0, 12, 48, 48),
    Oracle("cummax", lambda x: x.cummax(1), [X], "reduction", 0, 0, 12, 48, 144),
    Oracle("cummin", lambda x: x.cummin(1), [X], "reduction", 0, 0, 12, 48, 144),
    # 8 = 2 ** 3: three rounds over 16 elements; writes values and int64 indices
    Oracle("sort", lambda x: x.sort(), [(2, 8)], "sort", 0, 0, 48, 64, 192),
    Oracle("sort", lambda x: x.sort(0), [(8, 2)], "sort", 0, 0, 48, 64, 192),
    Oracle("topk", lambda x: x.topk(2), [(2, 8)], "sort", 0, 0, 48, 64, 48),
    Oracle("kthvalue", lambda x: x.kthvalue(3), [(2, 8)], "sort", 0, 0, 48, 64, 24),
    # 2 x 3 x 5 pairs of 4 coordinates: difference, square, sum
    Oracle("_cdist_forward", torch.cdist, [(2, 3, 4), (2, 5, 4)], "reduction", 0, 0, 360, 256, 120),
    Oracle("_euclidean_dist", lambda x, y: aten._euclidean_dist(x, y), [(2, 3, 4), (2, 5, 4)], "reduction", 0, 0, 360, 256, 120),
    # 2 x 4 pairs of 3 coordinates: a product and a sum for each of x.y, x.x and y.y
    Oracle("cosine_similarity", lambda x, y: F.cosine_similarity(x, y, dim=1), [(2, 3, 4), (2, 3, 4)], "reduction", 0, 0, 144, 192, 32),
    # 3 stages of 4 butterflies for each of 2 rows, a butterfly being a complex product (6) and two sums (4); half of it for real data
    Oracle("_fft_c2c", torch.fft.fft, [complexes(2, 8)], "reduction", 0, 0, 240, 128, 128),
    Oracle("_fft_r2c", torch.fft.rfft, [(2, 8)], "reduction", 0, 0, 120, 64, 80),
    Oracle("_fft_c2r", torch.fft.irfft, [complexes(2, 5)], "reduction", 0, 0, 120, 80, 64),
    # 9 windows of 4 values, each added to its place
    Oracle("col2im", lambda x: F.fold(x, (4, 4), (2, 2)), [(1, 4, 9)], "copy", 0, 0, 36, 144, 64),
    # checks that need no kernel
    Oracle("_assert_async", lambda x: aten._assert_async(x), [bools()], "view", 0, 0, 0, 1, 0),
    Oracle("_assert_tensor_metadata", lambda x: aten._assert_tensor_metadata(x, [2, 6]), [X], "view", 0, 0, 0, 48, 0),
]  # fmt: skip

# Interpolation between 2, 4 or 8 neighbours: n multiplications and n - 1 additions; bicubic: five rows of 4 + 3.
RESIZES = [
    Oracle("upsample_nearest1d", nn.Upsample(scale_factor=2), [(1, 1, 4)], "resize", 0, 0, 0, 16, 32),
    Oracle("upsample_nearest2d", nn.Upsample(scale_factor=2), [(1, 1, 2, 2)], "resize", 0, 0, 0, 16, 64),
    Oracle("upsample_nearest3d", nn.Upsample(scale_factor=2), [(1, 1, 1, 2, 2)], "resize", 0, 0, 0, 16, 128),
    Oracle("_upsample_nearest_exact1d", nn.Upsample(scale_factor=2, mode="nearest-exact"), [(1, 1, 4)], "resize", 0, 0, 0, 16, 32),
    Oracle("_upsample_nearest_exact2d", nn.Upsample(scale_factor=2, mode="nearest-exact"), [(1, 1, 2, 2)], "resize", 0, 0, 0, 16, 64),
    Oracle("_upsample_nearest_exact3d", nn.Upsample(scale_factor=2, mode="nearest-exact"), [(1, 1, 1, 2, 2)], "resize", 0, 0, 0, 16, 128),
    Oracle("upsample_linear1d", nn.Upsample(scale_factor=2, mode="linear"), [(1, 1, 4)], "resize", 0, 0, 24, 16, 32),
    Oracle("upsample_bilinear2d", nn.Upsample(scale_factor=2, mode="bilinear"), [(1, 1, 2, 2)], "resize", 0, 0, 112, 16, 64),
    Oracle("upsample_trilinear3d", nn.Upsample(scale_factor=2, mode="trilinear"), [(1, 1, 1, 2, 2)], "resize", 0, 0, 480, 16, 128),
    Oracle("upsample_bicubic2d", nn.Upsample(scale_factor=2, mode="bicubic"), [(1, 1, 2, 2)], "resize", 0, 0, 560, 16, 64),
    Oracle("_upsample_bilinear2d_aa", lambda x: F.interpolate(x, size=(4, 4), mode="bilinear", antialias=True), [(1, 1, 2, 2)],
           "resize", 0, 0, 112, 16, 64),
    Oracle("_upsample_bicubic2d_aa", lambda x: F.interpolate(x, size=(4, 4), mode="bicubic", antialias=True), [(1, 1, 2, 2)],
           "resize", 0, 0, 560, 16, 64),
    # 9 samples: 7 as for bilinear, and a product and a sum to place each of 2 coordinates;
    # reads no more than it writes, 9, and 18 of the grid
    Oracle("grid_sampler_2d", lambda x, g: F.grid_sample(x, g, align_corners=False), [(1, 1, 4, 4), (1, 3, 3, 2)],
           "resize", 0, 0, 99, 108, 36),
    # 8 samples: 15 as for trilinear, and 2 for each of 3 coordinates
    Oracle("grid_sampler_3d", lambda x, g: F.grid_sample(x, g, align_corners=False), [(1, 1, 2, 2, 2), (1, 2, 2, 2, 3)],
           "resize", 0, 0, 168, 128, 32),
]  # fmt: skip

# Of what they index, gathers read and in-place scatters write only the part they touch.
MOVES = [
    # 6 indices, 6 rows of 4
    Oracle("embedding", nn.Embedding(10, 4), [ints(2, 3)], "gather", 0, 0, 0, 48 + 96, 96),
    # a table of 2 rows of 4 is read once, however often its rows are used
    Oracle("embedding", nn.Embedding(2, 4), [ints(2, 3)], "gather", 0, 0, 0, 48 + 32, 96),
    Oracle("index", lambda x, i: x[:, i], [(2, 6), ints(3)], "gather", 0, 0, 0, 24 + 24, 24),
    Oracle("index_select", lambda x, i: x.index_select(1, i), [(2, 6), ints(3)], "gather", 0, 0, 0, 24 + 24, 24),
    Oracle("gather", lambda x, i: x.gather(1, i), [(2, 6), ints(2, 1)], "gather", 0, 0, 0, 8 + 16, 8),
    Oracle("take", lambda x, i: x.take(i), [(2, 6), ints(3)], "gather", 0, 0, 0, 12 + 24, 12),
    # in place: 2 x 3 values are read and written, and 3 indices read; out of place all 12 are copied
    Oracle("index_put", lambda x, i, v: x.clone().index_put_((aten.arange(2)[:, None], i), v), [(2, 6), ints(3), (2, 3)],
           "gather", 0, 0, 0, 16 + 24 + 24, 24),
    Oracle("index_put", lambda x, i, v: x.index_put((i,), v), [(6, 2), ints(3), (3, 2)], "gather", 0, 0, 0, 48 + 24 + 24, 48),
    Oracle("scatter", lambda x, i, v: x.clone().scatter_(1, i, v), [(2, 6), ints(2, 1), (2, 1)], "gather", 0, 0, 0, 16 + 8, 8),
    Oracle("scatter", lambda x, i, v: x.scatter(1, i, v), [(2, 6), ints(2, 1), (2, 1)], "gather", 0, 0, 0, 48 + 16 + 8, 48),
    # one number for 2 indexed places, and for 3
    Oracle("scatter", lambda x, i: x.clone().scatter_(1, i, 1.0), [(2, 6), ints(2, 1)], "gather", 0, 0, 0, 16, 8),
    Oracle("index_put", lambda x, i, v: x.clone().index_put_((i,), v), [(12,), ints(3), (1,)], "gather", 0, 0, 0, 24 + 4, 12),
    # 2 places are read, added to and written, though the source holds 4 values
    Oracle("scatter_add", lambda x, i, v: x.clone().scatter_add_(1, i, v), [(2, 6), ints(2, 1), (2, 2)], "gather", 0, 0, 2, 8 + 16 + 16, 8),
    Oracle("index_add", lambda x, i, v: x.clone().index_add_(0, i, v), [(6, 2), ints(3), (3, 2)], "gather", 0, 0, 6, 24 + 24 + 24, 24),
    Oracle("index_copy", lambda x, i, v: x.clone().index_copy_(0, i, v), [(6, 2), ints(3), (3, 2)], "gather", 0, 0, 0, 24 + 24, 24),
    # casts and copies move both sides; a fill writes only
    Oracle("copy", lambda x, y: x.clone().copy_(y), [X, X], "copy", 0, 0, 0, 48, 48),
    Oracle("fill", lambda x: x.clone().fill_(1.0), [X], "create", 0, 0, 0, 0, 48),
    Oracle("to", lambda x: x.half(), [X], "cast", 0, 0, 0, 48, 24),
    Oracle("cat", lambda x, y: torch.cat([x, y], 1), [X, X], "copy", 0, 0, 0, 96, 96),
    Oracle("reshape", lambda x: x.t().reshape(12), [X], "copy", 0, 0, 0, 48, 48),
    Oracle("reshape_as", lambda x, y: x.t().reshape_as(y), [(2, 6), (12,)], "copy", 0, 0, 0, 48, 48),
    Oracle("zeros_like", torch.zeros_like, [X], "create", 0, 0, 0, 0, 48),
    Oracle("empty_like", torch.empty_like, [X], "create", 0, 0, 0, 0, 0),
    # a row repeated by broadcasting is read once
    Oracle("add", lambda x, y: x + y.expand(2, 6), [(2, 6), (1, 6)], "elementwise", 0, 0, 12, 48 + 24, 48),
]  # fmt: skip

ATTENDED: list[Shape] = [(1, 2, 3, 4)] * 5  # gradient of the output, query, key, value, output: 24 elements, 96 bytes each


def listed(name: str) -> Callable[..., Any]:
    """Call a function of lists with each of the tensors in a list, in this order and, for the second argument, in the other."""
    function, binary = getattr(torch, f"_foreach_{name}"), name not in ("neg", "sqrt", "reciprocal")
    return (lambda x, y: function([x, y], [y, x])) if binary else (lambda x, y: function([x, y]))


def ternary(name: str) -> Callable[..., Any]:
    """Call a function of three lists of one tensor each."""
    return lambda x, y, z: getattr(torch, f"_foreach_{name}")([x], [y], [z])


def resized(name: str, *corners: bool) -> Callable[..., Any]:
    """Take the gradient of 2 x 2 pixels from that of 4 x 4."""
    return lambda g: getattr(aten, name)(g, [4, 4], [1, 1, 2, 2], *corners, None, None)


# What a training step adds. Gradients of a convolution: as many products for the input's, and for the weight's, as the forward pass.
TRAINING = [
    # 648 products forward, twice; a sum of 36 for the bias; reads 36 + 50 + 72 values, writes 50 + 72 + 4
    Oracle("convolution_backward",
           lambda g, x, w: aten.convolution_backward(g, x, w, [4], [2, 2], [1, 1], [1, 1], False, [0, 0], 1, [True] * 3),
           [(1, 4, 3, 3), (1, 2, 5, 5)], "conv", 1296, 2592, 36, 632, 504, weights=[(4, 2, 3, 3)]),
    # 432 products forward, one filter a channel
    Oracle("convolution_backward",
           lambda g, x, w: aten.convolution_backward(g, x, w, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 3, [True, True, False]),
           [(1, 3, 4, 4), (1, 3, 4, 4)], "depthwise conv", 864, 0, 1728, 492, 300, weights=[(3, 1, 3, 3)]),
    # transposed: each of 2 x 2 x 2 inputs was spread over 3 channels x 9 taps
    Oracle("convolution_backward",
           lambda g, x, w: aten.convolution_backward(g, x, w, None, [2, 2], [0, 0], [1, 1], True, [0, 0], 1, [True, True, False]),
           [(1, 3, 5, 5), (1, 2, 2, 2)], "conv", 432, 864, 0, 548, 248, weights=[(2, 3, 3, 3)]),
    # 2 heads x 3 x 3 = 18 pairs; the scores again and their gradient, and those of queries, keys and values: 5 products of 4 terms;
    # softmax forward and backward takes 9 operations a pair; reads 6 log-sum-exps too
    Oracle("_scaled_dot_product_flash_attention_for_cpu_backward",
           lambda *t: aten._scaled_dot_product_flash_attention_for_cpu_backward(*t, 0.0, False),
           [*ATTENDED, (1, 2, 3)], "attention", 360, 720, 162, 504, 288),
    # and two numbers of 8 bytes that would seed a dropout
    Oracle("_scaled_dot_product_efficient_attention_backward",
           lambda g, q, k, v, o, sums, *seeds: aten._scaled_dot_product_efficient_attention_backward(
               g, q, k, v, None, o, sums, *seeds, 0.0, [True, True, True, False])[:3],
           [*ATTENDED, (1, 2, 3), ints(), ints()], "attention", 360, 720, 162, 520, 288),
    # and two offsets of 2 sequences, which are whole numbers of 4 bytes
    Oracle("_scaled_dot_product_flash_attention_backward",
           lambda g, q, k, v, o, sums, cum, *seeds: aten._scaled_dot_product_flash_attention_backward(
               g, q, k, v, o, sums, cum, cum, 3, 3, 0.0, False, *seeds),
           [*ATTENDED, (1, 2, 3), torch.empty(2, dtype=torch.int32, device="meta"), ints(), ints()], "attention", 360, 720, 162, 528, 288),
    # mean and variance take 4 operations, scale and shift 2; reads 12 + 2 x 6, writes 12 and 2 x 6 statistics (which PyTorch's
    # meta kernel makes in inference too)
    # eight operations an element, five without a mean; statistics of each of two rows are written as well
    Oracle("layer_norm", nn.LayerNorm(6), [X], "layer norm", 0, 0, 96, 96, 48),
    Oracle("rms_norm", nn.RMSNorm(6), [X], "layer norm", 0, 0, 60, 72, 48),
    Oracle("native_layer_norm", lambda x, w, b: aten.native_layer_norm(x, [6], w, b, 1e-5), [X, (6,), (6,)],
           "layer norm", 0, 0, 96, 96, 64),
    Oracle("native_batch_norm", lambda x, w, b: aten.native_batch_norm(x, w, b, None, None, True, 0.1, 1e-5), [X, (6,), (6,)],
           "batch norm", 0, 0, 72, 96, 96),
    Oracle("native_batch_norm", lambda x, w, b, m, v: aten.native_batch_norm(x, w, b, m, v, False, 0.1, 1e-5)[0], [X, *[(6,)] * 4],
           "batch norm", 0, 0, 24, 144, 96),
    Oracle("cudnn_batch_norm", lambda x, w, b: aten.cudnn_batch_norm(x, w, b, None, None, True, 0.1, 1e-5), [X, (6,), (6,)],
           "batch norm", 0, 0, 72, 96, 96),
    # lists of two tensors of 12
    *(Oracle(f"_foreach_{name}", listed(name), [X, X], "elementwise", 0, 0, 24, 96, 96)
      for name in ("add", "sub", "mul", "div", "maximum", "neg", "sqrt", "reciprocal")),
    # a product, a factor and a sum for each of 12
    *(Oracle(f"_foreach_{name}", ternary(name), [X] * 3, "elementwise", 0, 0, 36, 144, 48) for name in ("addcmul", "addcdiv")),
    Oracle("_foreach_lerp", lambda x, y: torch._foreach_lerp([x], [y], 0.5), [X, X], "elementwise", 0, 0, 36, 96, 48),
    Oracle("_foreach_zero", lambda x: torch._foreach_zero_([x.clone()]), [X], "elementwise", 0, 0, 0, 0, 48),
    Oracle("_foreach_copy", lambda x, y: torch._foreach_copy_([x.clone()], [y]), [X, X], "elementwise", 0, 0, 0, 48, 48),
    # each of 9 gradients goes where its maximum was: reads 9 values and 9 indices
    Oracle("max_pool2d_with_indices_backward",
           lambda g, x, i: aten.max_pool2d_with_indices_backward(g, x, [2, 2], [1, 1], [0, 0], [1, 1], False, i),
           [(1, 1, 3, 3), (1, 1, 4, 4), ints(1, 1, 3, 3)], "pool", 0, 0, 9, 108, 64),
    Oracle("max_pool3d_with_indices_backward",
           lambda g, x, i: aten.max_pool3d_with_indices_backward(g, x, [2] * 3, [2] * 3, [0] * 3, [1] * 3, False, i),
           [(1, 1, 1, 1, 2), (1, 1, 2, 2, 4), ints(1, 1, 1, 1, 2)], "pool", 0, 0, 2, 24, 64),
    Oracle("adaptive_max_pool2d_backward", lambda g, x, i: aten.adaptive_max_pool2d_backward(g, x, i),
           [(1, 2, 1, 1), (1, 2, 4, 4), ints(1, 2, 1, 1)], "pool", 0, 0, 2, 24, 128),
    Oracle("adaptive_max_pool3d_backward", lambda g, x, i: aten.adaptive_max_pool3d_backward(g, x, i),
           [(1, 2, 1, 1, 1), (1, 2, 2, 2, 2), ints(1, 2, 1, 1, 1)], "pool", 0, 0, 2, 24, 64),
    # 4 gradients, each spread over 2 x 3 taps
    Oracle("avg_pool2d_backward", lambda g, x: aten.avg_pool2d_backward(g, x, [2, 3], [2, 3], [0, 0], False, True, None),
           [(1, 1, 2, 2), (1, 1, 4, 6)], "pool", 0, 0, 24, 16, 96),
    Oracle("avg_pool3d_backward", lambda g, x: aten.avg_pool3d_backward(g, x, [2] * 3, [2] * 3, [0] * 3, False, True, None),
           [(1, 1, 1, 1, 2), (1, 1, 2, 2, 4)], "pool", 0, 0, 16, 8, 64),
    Oracle("_adaptive_avg_pool2d_backward", lambda g, x: aten._adaptive_avg_pool2d_backward(g, x), [(1, 2, 2, 2), (1, 2, 4, 4)],
           "pool", 0, 0, 32, 32, 128),
    Oracle("_adaptive_avg_pool3d_backward", lambda g, x: aten._adaptive_avg_pool3d_backward(g, x), [(1, 2, 1, 1, 1), (1, 2, 2, 2, 2)],
           "pool", 0, 0, 16, 8, 64),
    # 2 targets; writes the loss and how many counted
    Oracle("nll_loss_forward", lambda x, t: aten.nll_loss_forward(x, t, None, 1, -100), [X, ints(2)], "reduction", 0, 0, 2, 64, 8),
    Oracle("nll_loss2d_forward", lambda x, t: aten.nll_loss2d_forward(x, t, None, 1, -100), [(1, 3, 2, 2), ints(1, 2, 2)],
           "reduction", 0, 0, 4, 80, 8),
    # the gradient of the loss, the targets and how many counted; the rest is zero
    Oracle("nll_loss_backward", lambda g, x, t, w: aten.nll_loss_backward(g, x, t, None, 1, -100, w), [(), X, ints(2), ()],
           "gather", 0, 0, 2, 24, 48),
    Oracle("nll_loss2d_backward", lambda g, x, t, w: aten.nll_loss2d_backward(g, x, t, None, 1, -100, w),
           [(), (1, 3, 2, 2), ints(1, 2, 2), ()], "gather", 0, 0, 4, 40, 48),
    # 6 rows of 4 are added into a table of 10
    Oracle("embedding_dense_backward", lambda g, i: aten.embedding_dense_backward(g, i, 10, -1, False), [(2, 3, 4), ints(2, 3)],
           "gather", 0, 0, 24, 144, 160),
    # 16 gradients, each with the weights of its neighbours
    *(Oracle(name, resized(name), [(1, 1, 4, 4)], "resize", 0, 0, 16, 64, 16)
      for name in ("upsample_nearest2d_backward", "_upsample_nearest_exact2d_backward")),
    *(Oracle(name, resized(name, False), [(1, 1, 4, 4)], "resize", 0, 0, 112, 64, 16)
      for name in ("upsample_bilinear2d_backward", "_upsample_bilinear2d_aa_backward")),
    *(Oracle(name, resized(name, False), [(1, 1, 4, 4)], "resize", 0, 0, 560, 64, 16)
      for name in ("upsample_bicubic2d_backward", "_upsample_bicubic2d_aa_backward")),
]  # fmt: skip

ORACLES = [*CONVS, *PRODUCTS, *POOLS, *REDUCTIONS, *RESIZES, *MOVES, *TRAINING]

# FLOPs per element, as docs/conventions.md states them: most functions one operation, others what a polynomial or a division takes.
PER_ELEMENT: list[tuple[str, str, Callable[..., Any], int]] = [
    ("activation", "relu", F.relu, 1),
    ("activation", "hardtanh", F.relu6, 2),
    ("activation", "leaky_relu", F.leaky_relu, 2),
    ("activation", "sigmoid", torch.sigmoid, 4),
    ("activation", "silu", F.silu, 5),
    ("activation", "gelu", F.gelu, 8),
    ("activation", "tanh", torch.tanh, 6),
    ("activation", "elu", F.elu, 4),
    ("activation", "softplus", F.softplus, 4),
    ("activation", "hardsigmoid", F.hardsigmoid, 4),
    ("activation", "hardswish", F.hardswish, 5),
    ("activation", "mish", F.mish, 11),
    ("elementwise", "add", lambda x: x + x, 1),
    ("elementwise", "mul", lambda x: x * 2, 1),
    ("elementwise", "div", lambda x: x / x, 1),
    ("elementwise", "rsqrt", torch.rsqrt, 2),
    ("elementwise", "pow", lambda x: x**3, 2),
    ("elementwise", "erf", torch.erf, 6),
    ("elementwise", "clamp", lambda x: x.clamp(0, 1), 2),
    ("elementwise", "lerp", lambda x: torch.lerp(x, x, 0.5), 3),
    ("compare", "gt", lambda x: x > 0, 1),
    ("compare", "where", lambda x: torch.where(x > 0, x, x), 1),
    ("softmax", "softmax", lambda x: x.softmax(1), 5),
    ("softmax", "log_softmax", lambda x: x.log_softmax(1), 6),
    ("batch norm", "batch_norm", nn.BatchNorm1d(6), 2),
    ("layer norm", "layer_norm", nn.LayerNorm(6), 8),
    ("group norm", "group_norm", nn.GroupNorm(2, 6), 8),
    ("layer norm", "rms_norm", nn.RMSNorm(6), 5),
    ("copy", "clone", torch.clone, 0),
    ("copy", "roll", lambda x: x.roll(1, 1), 0),
    ("cast", "to", lambda x: x.double(), 0),
    ("create", "zeros_like", torch.zeros_like, 0),
    ("create", "rand_like", torch.rand_like, 1),
    ("activation", "threshold_backward", lambda x: aten.threshold_backward(x, x, 0), 1),
    ("activation", "sigmoid_backward", lambda x: aten.sigmoid_backward(x, x), 3),  # g y (1 - y)
    ("activation", "silu_backward", lambda x: aten.silu_backward(x, x), 9),  # a sigmoid s, then g s (1 + x (1 - s))
    ("activation", "gelu_backward", lambda x: aten.gelu_backward(x, x), 15),
    ("activation", "hardswish_backward", lambda x: aten.hardswish_backward(x, x), 5),
    ("activation", "hardsigmoid_backward", lambda x: aten.hardsigmoid_backward(x, x), 3),
    ("softmax", "_softmax_backward_data", lambda x: aten._softmax_backward_data(x, x, 1, torch.float32), 4),  # y (g - sum(g y))
    ("softmax", "_log_softmax_backward_data", lambda x: aten._log_softmax_backward_data(x, x, 1, torch.float32), 4),
    (
        "layer norm",
        "native_layer_norm_backward",
        lambda x: aten.native_layer_norm_backward(x, x, [6], x[:, :1], x[:, :1], x[0], x[0], [True] * 3),
        13,
    ),
    (
        "batch norm",
        "native_batch_norm_backward",
        lambda x: aten.native_batch_norm_backward(x, x, x[0], None, None, x[0], x[0], True, 1e-5, [True] * 3),
        9,
    ),
]


@pytest.mark.parametrize("oracle", ORACLES, ids=lambda o: o.op)
def test_an_op_costs_what_a_hand_counts(oracle: Oracle) -> None:
    """Compare kind, work and traffic of the op alone."""
    graph = traced(oracle.model, *oracle.inputs, weights=oracle.weights)
    op = only(graph, oracle.op)
    total = cost([op], graph)
    assert work(op, graph).kind == oracle.kind
    assert (total.macs, total.matrix_flops, total.vector_flops) == (oracle.macs, oracle.matrix, oracle.vector)
    assert (total.read_bytes, total.write_bytes) == (oracle.read, oracle.written)


def test_every_rule_has_an_oracle() -> None:
    """A rule is checked by a row above, or it is a figure per element of the one table."""
    tabled = {name for functions in ELEMENTWISE.values() for name in functions}
    assert sorted(set(RULES) - tabled - {oracle.op for oracle in ORACLES}) == []


def test_every_rule_names_an_op_that_exists() -> None:
    """A misspelt name would be a rule that never runs."""
    assert sorted(name for name in RULES if not hasattr(aten, name) and name != "torchvision.deform_conv2d") == []


@pytest.mark.parametrize(("kind", "name", "function", "flops"), PER_ELEMENT, ids=[row[1] for row in PER_ELEMENT])
def test_a_function_costs_its_stated_flops_for_each_of_12_elements(kind: str, name: str, function: Callable[..., Any], flops: int) -> None:
    graph = traced(function, X)
    op = only(graph, name)
    assert work(op, graph).kind == kind
    assert cost([op], graph).vector_flops == 12 * flops
    assert cost([op], graph).matrix_flops == cost([op], graph).macs == 0


def test_every_kind_of_function_in_the_table_is_sampled() -> None:
    assert set(ELEMENTWISE) == {kind for kind, *_ in PER_ELEMENT} | {"gather"}  # gathers have rows of their own above


def test_every_kind_that_a_rule_returns_is_a_listed_kind() -> None:
    assert {oracle.kind for oracle in ORACLES} | {kind for kind, *_ in PER_ELEMENT} <= set(KINDS)


def test_a_second_rule_for_an_op_is_an_error() -> None:
    with pytest.raises(ValueError, match="'conv2d' has a rule already: conv"):
        rule("conv2d")(RULES["mm"])


@torch.library.custom_op("rooflinetest::mystery", mutates_args=())
def mystery(x: torch.Tensor) -> torch.Tensor:
    """Do something that no rule knows."""
    return x.clone()


@mystery.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


def test_an_op_without_a_rule_is_unknown_and_still_moves_its_bytes() -> None:
    graph = traced(lambda x: mystery(x) + 1, X)
    op = only(graph, "rooflinetest.mystery")
    assert work(op, graph).kind == "unknown"
    assert work(op, graph).rows == 12
    assert cost([op], graph) == Cost(input_bytes=48, output_bytes=48)


def test_composites_that_are_kept_whole_have_a_rule_or_are_always_a_view() -> None:
    views = {"chunk", "split", "narrow", "swapaxes", "swapdims", "moveaxis", "unflatten", "expand_as", "view_as"}
    assert sorted(WHOLE - set(RULES)) == sorted(views)


VIEWS: dict[str, Callable[[torch.Tensor], Any]] = {
    "chunk": lambda x: x.chunk(2, 1),
    "split": lambda x: x.split(3, 1),
    "narrow": lambda x: x.narrow(1, 0, 2),
    "swapaxes": lambda x: x.swapaxes(0, 1),
    "swapdims": lambda x: x.swapdims(0, 1),
    "moveaxis": lambda x: x.moveaxis(0, 1),
    "movedim": lambda x: x.movedim(0, 1),
    "unflatten": lambda x: x.unflatten(1, (2, 3)),
    "view_as": lambda x: x.view_as(x),
    "reshape": lambda x: x.reshape(2, 2, 3),
    "flatten": lambda x: x.flatten(),
    "transpose": lambda x: x.transpose(0, 1),
    "permute": lambda x: x.permute(1, 0),
    "unsqueeze": lambda x: x.unsqueeze(0),
    "slice": lambda x: x[:, 1:3],
    "select": lambda x: x[:, 0],
    "unbind": lambda x: x.unbind(1),
    "detach": lambda x: x.detach(),
    "dropout": lambda x: F.dropout(x, training=False),
    "contiguous": lambda x: x.contiguous(),
    "to": lambda x: x.to(torch.float32),
}


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_is_free(name: str) -> None:
    graph = traced(VIEWS[name], X)
    views = [op for op in graph.ops if op.name == name]
    assert all(work(op, graph).kind == "view" and cost([op], graph) == Cost() for op in views)
    assert set(kinds_of(graph)) <= {"view"}


def test_a_row_broadcast_with_expand_as_is_free() -> None:
    graph = traced(lambda x, y: x.expand_as(y), (1, 6), (2, 6))
    assert kinds_of(graph) == ["view"]


# --- loops as oracles ------------------------------------------------------------------------------------------------


def loop_over_conv(
    size: int, filters: int, channels: int, groups: int, window: int, stride: int, padding: int, dilation: int
) -> tuple[int, int]:
    """Slide a window over a square image, and count places and multiplications one by one."""
    reach = dilation * (window - 1) + 1
    corners = [at for at in range(-padding, size + padding) if (at + padding) % stride == 0 and at + reach <= size + padding]
    multiplications = 0
    for _place in itertools.product(corners, corners):
        for number in range(filters):
            group = number * groups // filters
            for channel in range(channels):
                multiplications += (channel * groups // channels == group) * len([*itertools.product(range(window), repeat=2)])
    return len(corners), multiplications


@pytest.mark.parametrize(("filters", "channels", "groups"), [(3, 2, 1), (4, 4, 2), (4, 4, 4), (4, 2, 2)])
@pytest.mark.parametrize(
    ("window", "stride", "padding", "dilation"), [(1, 1, 0, 1), (3, 1, 1, 1), (3, 2, 0, 1), (2, 3, 2, 1), (3, 2, 1, 2)]
)
def test_a_conv_has_as_many_macs_as_a_loop_multiplies(
    filters: int, channels: int, groups: int, window: int, stride: int, padding: int, dilation: int
) -> None:
    conv = nn.Conv2d(channels, filters, window, stride=stride, padding=padding, dilation=dilation, groups=groups)
    graph = traced(conv, (1, channels, 7, 7))
    places, multiplications = loop_over_conv(7, filters, channels, groups, window, stride, padding, dilation)
    assert graph.tensors[graph.outputs[0]].shape == (1, filters, places, places)
    assert cost(graph.ops, graph).macs == multiplications


@pytest.mark.parametrize(("stride", "groups"), [(1, 1), (2, 1), (2, 2), (3, 4)])
def test_a_transposed_conv_has_as_many_macs_as_a_loop_scatters(stride: int, groups: int) -> None:
    graph = traced(nn.ConvTranspose2d(4, 8, 3, stride=stride, groups=groups), (1, 4, 5, 5))
    scattered = 0
    for channel, _y, _x in itertools.product(range(4), range(5), range(5)):
        for target in range(8):
            scattered += 9 * (channel * groups // 4 == target * groups // 8)
    assert cost(graph.ops, graph).macs == scattered


def test_a_loop_nest_has_as_many_steps_as_macs() -> None:
    """rows x columns x depth x groups is the same count, written as products of matrices."""
    for oracle in (*CONVS, *PRODUCTS[:14]):
        graph = traced(oracle.model, *oracle.inputs, weights=oracle.weights)
        nest = work(only(graph, oracle.op), graph)
        assert nest.rows * nest.columns * nest.depth * nest.groups == oracle.macs, oracle.op


def test_a_grouped_conv_is_one_product_for_each_group() -> None:
    graph = traced(nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), (1, 4, 5, 5))
    nest = work(graph.ops[0], graph)
    assert (nest.rows, nest.columns, nest.depth, nest.groups, nest.taps, nest.stride) == (9, 3, 18, 2, 9, 2)


# --- PyTorch's counter as oracle -------------------------------------------------------------------------------------

COUNTED = [
    "efficientnet_b0", "resnet50", "mobilenetv3_large_100", "convnext_atto", "densenet121", "regnety_002", "mobilevit_s", "ghostnet_100",
    "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "mixer_s32_224", "torchvision:googlenet", "torchvision:inception_v3",
    "torchvision:shufflenet_v2_x1_0",
]  # fmt: skip


@pytest.mark.parametrize("name", COUNTED)
def test_macs_of_a_network_equal_half_the_flops_of_pytorchs_counter(name: str) -> None:
    """PyTorch counts convolutions, products and attention, as the MACs do; it sees the same module, on its own."""
    built = build(ModelSpec(name))
    graph = record(built.module, built.inputs, verify=False)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        built.module(*built.inputs)
    assert 2 * cost(graph.ops, graph).macs == counter.get_total_flops()


# --- kernels -------------------------------------------------------------------------------------------------------


def test_a_kernel_moves_what_crosses_its_edge_only() -> None:
    graph = traced(lambda x: (x + 1).relu() * x, X)
    apart = [cost([op], graph) for op in graph.ops]
    together = cost(graph.ops, graph)
    assert [c.bytes for c in apart] == [96, 96, 144]
    assert (together.read_bytes, together.write_bytes) == (48, 48)  # x once, the product once
    assert together.flops == 36


def test_an_output_of_the_network_leaves_the_kernel_that_also_reads_it() -> None:
    graph = traced(lambda x: (lambda y: (y, y.relu()))(x + 1), X)
    assert cost(graph.ops, graph).write_bytes == 48 + 48


def test_a_value_read_through_a_view_stays_inside_its_kernel() -> None:
    graph = traced(lambda x: (x + 1).reshape(3, 4).relu(), X)
    assert (cost(graph.ops, graph).read_bytes, cost(graph.ops, graph).write_bytes) == (48, 48)


def test_a_value_that_others_read_through_a_view_leaves_its_kernel() -> None:
    graph = traced(lambda x: (x + 1).reshape(3, 4).relu(), X)
    assert cost(graph.ops[:1], graph).write_bytes == 48


def test_a_tensor_read_twice_by_a_kernel_moves_once() -> None:
    graph = traced(lambda x: x * x, X)
    assert cost(graph.ops, graph).read_bytes == 48


def test_an_in_place_op_reads_and_writes_its_tensor() -> None:
    graph = traced(lambda x: x.clone().relu_(), X)
    op = only(graph, "relu")
    assert (cost([op], graph).read_bytes, cost([op], graph).write_bytes) == (48, 48)


def test_bytes_of_weights_are_kept_apart_from_bytes_of_activations() -> None:
    graph = traced(nn.Sequential(nn.Linear(3, 5, bias=False), nn.BatchNorm1d(5)), (2, 3))
    assert cost(graph.ops[:1], graph) == Cost(30, 60, 0, weight_bytes=60, input_bytes=24, output_bytes=40)
    assert cost(graph.ops[1:], graph) == Cost(0, 0, 20, weight_bytes=80, input_bytes=40, output_bytes=40)  # 4 x 5 statistics


def test_a_view_of_a_weight_counts_as_a_weight() -> None:
    graph = traced(lambda x, w: x + w.t(), X, weights=[(6, 2)])
    assert cost(graph.ops, graph).weight_bytes == 48


def test_a_sparse_tensor_moves_its_density() -> None:
    graph = traced(nn.Linear(3, 5, bias=False), (2, 3))
    sparse = replace(graph, tensors=tuple(replace(t, density=0.25) if t.kind == "weight" else t for t in graph.tensors))
    assert cost(sparse.ops, sparse).weight_bytes == 15


def test_costs_add_and_scale() -> None:
    total = Cost(1, 2, 3, 4, 5, 6) + Cost(1, 0, 0, 0, 0, 1) * 2
    assert total == 1 * Cost(3, 2, 3, 4, 5, 8)
    assert (total.flops, total.read_bytes, total.write_bytes, total.bytes) == (5, 9, 8, 17)
    assert total.intensity == 5 / 17
    assert Cost(macs=1, matrix_flops=2).intensity == 0


@settings(max_examples=25, deadline=None)
@given(cnns(), st.integers(2, 9))
def test_arithmetic_and_activation_bytes_are_proportional_to_the_batch(graph: Any, factor: int) -> None:
    once, often = cost_apart(graph), cost_apart(graph.with_batch(graph.batch * factor))
    assert often == replace(once * factor, weight_bytes=once.weight_bytes)


def cost_apart(graph: Any) -> Cost:
    """Add up every op as its own kernel."""
    return sum((cost([op], graph) for op in graph.ops), Cost())


def test_calls_are_run_through_the_module() -> None:
    assert only(traced(Calls(torch.mm, [(3, 5)]), (2, 3)), "mm").roles == ("self", "mat2")
