"""Architectures that several tests share."""

from roofline.tracing.architecture import Architecture, Stage

B0 = Architecture((
    Stage(1, 16, 3, 1, 1), Stage(2, 24, 3, 2), Stage(2, 40, 5, 2), Stage(3, 80, 3, 2), Stage(3, 112, 5), Stage(4, 192, 5, 2), Stage(1, 320),
))  # fmt: skip
"""EfficientNet-B0 (Tan and Le, https://arxiv.org/abs/1905.11946, table 1)."""
