"""Build AmoebaNets, which no zoo holds: the evolved cells A, B and D at any number of cells and filters.

A cell has two inputs, states 0 (the cell before) and 1 (the one before that), and five sums of two operations each, which
become states 2 to 6; some of the states are concatenated to its output. Cells: Real et al., Regularized Evolution for Image
Classifier Architecture Search, https://arxiv.org/abs/1802.01548, and for the sizes of B and D Huang et al., GPipe,
https://arxiv.org/abs/1811.06965. Operations and states are written as in the TPU code of the authors (github.com/tensorflow/tpu,
models/official/amoeba_net/model_specs.py), from memory: *recalled*. What was checked is parameters and MACs, see GENOTYPES.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

STAGES = 3
"""Runs of normal cells at one size of image; each but the first follows a reduction cell and has twice the filters."""

STEM_SHRINKS = (4, 2)
"""By how much the filters of the two reduction cells of the stem are fewer."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Say what a cell does: ten *operations*, the state that each reads, added in pairs; and the states it gives out."""

    operations: tuple[str, ...]
    states: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Genotype:
    """Hold the cell that keeps the size of an image and the one that halves it; *image_size* is that of its publication."""

    normal: Cell
    reduction: Cell
    image_size: int


GENOTYPES = {
    "a": Genotype(
        Cell(
            ("avg_pool_3x3", "max_pool_3x3", "separable_3x3", "none", "none", "avg_pool_3x3", "separable_3x3", "separable_5x5",
             "avg_pool_3x3", "separable_3x3"),
            (0, 0, 1, 1, 0, 1, 0, 2, 5, 0), (1, 3, 4, 6),
        ),
        Cell(
            ("separable_3x3", "avg_pool_3x3", "max_pool_3x3", "separable_7x7", "max_pool_3x3", "max_pool_3x3", "separable_3x3", "1x7_7x1",
             "avg_pool_3x3", "separable_7x7"),
            (1, 0, 0, 2, 1, 0, 4, 0, 1, 0), (2, 3, 4, 5, 6),
        ),
        image_size=331,
    ),
    "b": Genotype(
        Cell(
            ("1x1", "max_pool_3x3", "none", "separable_3x3", "1x1", "separable_3x3", "1x1", "none", "avg_pool_3x3", "1x1"),
            (1, 1, 1, 0, 0, 1, 2, 2, 1, 5), (0, 3, 4, 6),
        ),
        Cell(
            ("max_pool_2x2", "max_pool_3x3", "none", "3x3", "dilated_5x5", "max_pool_3x3", "none", "max_pool_2x2", "avg_pool_3x3", "1x1"),
            (0, 0, 2, 1, 2, 2, 3, 1, 2, 3), (4, 5, 6),
        ),
        image_size=480,
    ),
    "d": Genotype(
        Cell(
            ("1x1", "max_pool_3x3", "none", "1x7_7x1", "1x1", "1x7_7x1", "max_pool_3x3", "none", "avg_pool_3x3", "1x1"),
            (1, 1, 1, 0, 0, 0, 2, 2, 1, 5), (0, 3, 4, 6),
        ),
        Cell(
            ("max_pool_2x2", "max_pool_3x3", "none", "3x3", "1x7_7x1", "max_pool_3x3", "none", "max_pool_2x2", "avg_pool_3x3", "1x1"),
            (0, 0, 2, 1, 2, 2, 3, 1, 2, 3), (4, 5, 6),
        ),
        image_size=224,
    ),
}  # fmt: skip
"""The evolved cells. A gives the published 86.7 M parameters and 23.1 G MACs (18 cells, 190 filters, 331 pixels), 99.6 M (204)
and 469 M (448); D the 82, 318, 542 M and 1.05 B of GPipe's table. B is less certain: the eighth operation of its reduction cell
was recalled as separable_3x3, with which 18 cells of 512 filters have 568 M parameters; with the pool that D has there they have
557.7 M, as published (557 M), and 9 cells of 62 filters 5.25 M (5.3 M). But 18 of 190 have 79 M either way below the 84.0 M that
the paper is recalled to print."""


class AmoebaNet(nn.Module):
    """Stack *cells* normal cells of a *genotype* in three stages, the first of *filters* filters, behind a stem that divides by 8."""

    def __init__(self, genotype: Genotype, cells: int, filters: int, in_chans: int = 3) -> None:
        super().__init__()
        plan = [(genotype.reduction, filters // shrink, True) for shrink in STEM_SHRINKS]
        for stage in range(STAGES):
            wide = filters * 2**stage
            plan += [(genotype.reduction, wide, True)] * bool(stage) + [(genotype.normal, wide, False)] * (cells // STAGES)
        before = inputs = filters // STEM_SHRINKS[0]
        self.stem = nn.Sequential(nn.Conv2d(in_chans, inputs, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(inputs))
        self.cells = nn.ModuleList()
        halved = False
        for cell, wide, halves in plan:
            self.cells.append(CellModule(cell, before, inputs, wide, halves=halves, halved=halved))
            before, inputs, halved = inputs, wide * len(cell.outputs), halves
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(inputs, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Give the logits of a batch of images."""
        x = before = self.stem(x)
        for cell in self.cells:
            before, x = x, cell(before, x)
        return self.classifier(self.pool(x).flatten(1))


class CellModule(nn.Module):
    """Run one *cell* of *wide* filters on the outputs of the two cells before; *halved* says that the last of them halved the image."""

    def __init__(self, cell: Cell, before: int, inputs: int, wide: int, *, halves: bool, halved: bool) -> None:
        super().__init__()
        self.cell = cell
        self.enter = nn.Sequential(*_conv(inputs, wide))
        self.enter_before = Halve(before, wide) if halved else nn.Identity() if before == wide else nn.Sequential(*_conv(before, wide))
        strides = [2 if halves and state < 2 else 1 for state in cell.states]
        self.operations = nn.ModuleList(_operation(name, wide, s) for name, s in zip(cell.operations, strides, strict=True))
        self.shortcuts = nn.ModuleDict({str(s): Halve(wide, wide) for s in cell.outputs if halves and s < 2})

    def forward(self, before: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Add pairs of operations one after the other and concatenate what the cell gives out."""
        states = [self.enter(x), self.enter_before(before)]
        read = iter(zip(self.operations, self.cell.states, strict=True))
        for (first, a), (second, b) in zip(read, read, strict=True):
            states.append(first(states[a]) + second(states[b]))
        return torch.cat([self.shortcuts[str(s)](states[s]) if str(s) in self.shortcuts else states[s] for s in self.cell.outputs], 1)


class Halve(nn.Module):
    """Halve an image by two strided 1x1 convolutions, the second one pixel farther, each for half of the filters."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.conv1 = nn.Conv2d(inputs, outputs // 2, 1, stride=2, bias=False)
        self.shift = nn.ZeroPad2d((-1, 1, -1, 1))
        self.conv2 = nn.Conv2d(inputs, outputs - outputs // 2, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Give half the size, rounded up."""
        x = self.relu(x)
        return self.norm(torch.cat([self.conv1(x), self.conv2(self.shift(x))], 1))


def _operation(name: str, channels: int, stride: int) -> nn.Module:
    narrow = channels // 4
    if name == "none":
        return nn.Identity() if stride == 1 else nn.Sequential(*_conv(channels, channels, stride=(stride, stride)))
    if name == "1x1":
        return nn.Sequential(*_conv(channels, channels, stride=(stride, stride)))
    if name == "3x3":
        return nn.Sequential(*_conv(channels, narrow), *_conv(narrow, narrow, (3, 3), (stride, stride)), *_conv(narrow, channels))
    if name == "1x7_7x1":
        return nn.Sequential(
            *_conv(channels, narrow), *_conv(narrow, narrow, (1, 7), (1, stride)), *_conv(narrow, narrow, (7, 1), (stride, 1)),
            *_conv(narrow, channels),
        )  # fmt: skip
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)
    if name == "max_pool_3x3":
        return nn.MaxPool2d(3, stride, padding=1)
    if name == "max_pool_2x2":
        return nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.MaxPool2d(2, 1)) if stride == 1 else nn.MaxPool2d(2, stride, ceil_mode=True)
    return nn.Sequential(*_separable(channels, int(name[-1]), stride, dilation=2 if name.startswith("dilated") else 1))


def _conv(inputs: int, outputs: int, kernel: tuple[int, int] = (1, 1), stride: tuple[int, int] = (1, 1)) -> Sequence[nn.Module]:
    padding = (kernel[0] // 2, kernel[1] // 2)
    return nn.ReLU(), nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False), nn.BatchNorm2d(outputs)


def _separable(channels: int, kernel: int, stride: int, dilation: int) -> Sequence[nn.Module]:
    """Give two depthwise separable convolutions, the first of which strides."""
    layers: list[nn.Module] = []
    for step in (stride, 1):
        padding = dilation * (kernel // 2)
        depthwise = nn.Conv2d(channels, channels, kernel, step, padding, dilation, groups=channels, bias=False)
        layers += (nn.ReLU(), depthwise, nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels))
    return layers
