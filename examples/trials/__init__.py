"""What is said of EfficientNets, and of CPUs against GPUs, tried with the tool: each claim with a verdict that its numbers give.

`python docs/claims.py` writes docs/claims.md from CLAIMS.
"""

from trials import bound, order, rivals, savings, scaling, separable, size, training

CLAIMS = (size.claim, separable.claim, bound.claim, order.claim, rivals.claim, savings.claim, training.claim, scaling.claim)
"""One function a claim, in the order of the page."""
