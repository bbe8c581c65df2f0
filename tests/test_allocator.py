"""Memory asked of the system anew: by glibc's rules, worked out by hand, and by the page faults of real runs."""

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from strategies import traced
from torch import nn

import roofline
from roofline.costmodel.allocator import PAD, Process, asked_anew, filters
from roofline.costmodel.columns import Columns, tabulate
from roofline.transforms.modes import Layout, Mode, execute

MIB = 2.0**20

LARGE = (8, 16, 256, 256)
"""Shape of 32 MiB in fp32, to which the threshold never rises."""

SMALLER = (7, 16, 256, 256)
"""28 MiB: what is freed once is kept for the next, unless twice as much lies free."""

DEEP = (1, 1024, 4, 4)


def tabulated(model: nn.Module | Callable[..., Any], *inputs: tuple[int, ...], mode: Mode = "eager") -> Columns:
    fixed = replace(traced(model, *inputs), batch=None)
    return tabulate(execute(fixed, mode, 0.0), [fixed.inputs[0].shape[0]])


def anew(model: nn.Module | Callable[..., Any], *inputs: tuple[int, ...], mode: Mode = "eager", layout: Layout = "nchw") -> list[float]:
    """MiB that each kernel of *model* asks for."""
    return [nbytes / MIB for nbytes in asked_anew(tabulated(model, *inputs, mode=mode), Process(mode, layout))[0].tolist()]


def conv(inputs: int, outputs: int, side: int = 3, *, groups: int = 1) -> nn.Module:
    return nn.Conv2d(inputs, outputs, side, padding=side // 2, groups=groups, bias=False)


def held(image: torch.Tensor) -> torch.Tensor:
    """Three results in memory at once."""
    first = torch.sigmoid(image)
    return first + torch.tanh(first)


@pytest.mark.parametrize(
    ("model", "inputs", "mib"),
    [
        (torch.sigmoid, LARGE, [32]),
        (torch.relu_, LARGE, [0]),  # in place
        (torch.sigmoid, SMALLER, [0]),
        (lambda x: torch.tanh(torch.sigmoid(x)), SMALLER, [0, 0]),  # 56 MiB lie free, not more than twice the threshold
        (held, SMALLER, [28 - PAD / MIB, 28, 28]),  # 84 do, of which the end of the heap stays
        (conv(16, 16), LARGE, [96]),  # the result, and blocked copies of image and result
        (conv(16, 16, groups=16), LARGE, [96]),
        (conv(3, 16), (8, 3, 256, 256), [64]),  # an image of few channels is read where it lies
        (nn.BatchNorm2d(16).eval(), LARGE, [32]),
        (nn.Linear(2048, 4096), (1, 2048), [0]),  # a product reads its weights where they are
    ],
)
def test_what_was_given_back_is_asked_for_anew(model: nn.Module | Callable[..., Any], inputs: tuple[int, ...], mib: list[float]) -> None:
    assert anew(model, inputs) == pytest.approx(mib, abs=1e-6)


def test_channels_last_is_not_blocked() -> None:
    assert anew(conv(16, 16), LARGE, layout="nhwc") == [32]


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_the_weights_of_a_convolution_are_copied_in_each_call(mode: Mode) -> None:
    assert anew(nn.Conv2d(2048, 4096, 1), (1, 2048, 4, 4), mode=mode) == pytest.approx([32], abs=0.7)  # beside small results


def test_compiled_code_turns_wider_windows_to_channels_last_into_memory_that_it_uses_again() -> None:
    chain = nn.Sequential(conv(1024, 1024), nn.ReLU(), conv(1024, 1024))
    assert anew(chain, DEEP, mode="compiled") == pytest.approx([72, 0, 36], abs=0.2)  # weights of 36 MiB: turned and blocked; blocked


def test_a_generated_kernel_overwrites_what_is_read_for_the_last_time() -> None:
    chain = nn.Sequential(conv(16, 16, 1), nn.Sigmoid())
    assert anew(chain, LARGE, mode="compiled") == pytest.approx([32, 0], abs=0.01)


def test_weights_that_are_computed_are_laid_out_too() -> None:
    def scaled(image: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(image, weight * 2)

    columns = tabulated(scaled, (1, 8, 16, 16), (4, 8, 3, 3))
    assert filters(columns)[0].tolist() == [0, 4 * 8 * 9 * 4]


def test_batches_are_followed_apart() -> None:
    columns = tabulate(traced(torch.sigmoid, (2, 16, 256, 256)), [7, 8])
    assert (asked_anew(columns, Process("eager", "nchw")) / MIB).tolist() == [[0], [32]]


RUN = """
import resource, sys, timm, torch
torch.set_num_threads(2)
network, images = timm.create_model(sys.argv[1]).eval(), torch.randn(1, 3, 224, 224)
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
found = []
with torch.inference_mode():
    for _ in range(16):
        before = faults()
        network(images)
        found.append(faults() - before)
print(min(found[-8:]) * resource.getpagesize())  # what else a process does adds faults now and then
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or platform.machine() != "x86_64" or not torch.backends.mkldnn.is_available(),
    reason="reads the page faults of glibc, and the blocked copies of oneDNN on x86-64",
)
@pytest.mark.parametrize("model", ["resnet50", "wide_resnet50_2", "selecsls42b"])
def test_the_page_faults_of_a_run_are_those_foretold(model: str) -> None:
    """A process that runs nothing else: 0, 113 and 83 MB were read on an EPYC with AVX-512, where the rule says 0, 113 and 83."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD"))}
    done = subprocess.run([sys.executable, "-c", RUN, model], capture_output=True, text=True, check=True, env=plain)
    columns = tabulate(roofline.trace(model, image_size=224), [1])
    assert asked_anew(columns, Process("eager", "nchw")).sum() == pytest.approx(float(done.stdout), rel=0.1, abs=2e6)
