"""Compare the kernels predicted for torch.compile on a GPU with those that Inductor generates: how many, and what they move.

    python benchmarks/kernels.py list [NETWORK ...] [--batch 64]         # writes benchmarks/results/kernels.csv
    python benchmarks/kernels.py compare

Nothing runs: Inductor is given fake tensors of an RTX 4090, and asked for its code. `list` needs timm and
PyTorch 2.4.1, whose insides it knows; without a GPU, networks that ask CUDA for a device (slices, attention) are left out, and named.
`compare` needs roofline.
"""

import argparse
import contextlib
import csv
import json
import subprocess
import sys
import types
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results" / "kernels.csv"
FIELDS = ("model", "image_size", "batch", "torch", "channels_last", "kernels", "gigabytes")
NETWORKS = ("resnet50", "efficientnet_b0", "mobilenetv3_large_100", "regnety_016", "convnext_tiny", "vgg16", "densenet121")
CARD = types.SimpleNamespace(
    name="NVIDIA GeForce RTX 4090", major=8, minor=9, multi_processor_count=128, total_memory=24 << 30, warp_size=32, gcnArchName="",
    max_threads_per_multi_processor=1536, regs_per_multiprocessor=65536, L2_cache_size=72 << 20,
    shared_memory_per_block=49152, shared_memory_per_block_optin=101376,
)  # fmt: skip
"""What Inductor asks of a device."""


def generated(model: str, image_size: int, batch: int) -> dict[str, Any]:
    """Let Inductor write the code of a network in mixed precision, and count the kernels that it generates and their bytes."""
    import torch

    torch._C._select_conv_backend = lambda *_, **__: torch._C._ConvBackend.Cudnn  # it asks the device
    from torch._functorch.aot_autograd import aot_export_module
    from torch._inductor.debug import DebugContext
    from torch._inductor.decomposition import select_decomp_table
    from torch._inductor.fx_passes import fuse_attention, misc_patterns, pad_mm
    from torch._inductor.fx_passes.joint_graph import joint_graph_passes
    from torch._inductor.fx_passes.post_grad import post_grad_passes, view_to_reshape
    from torch._inductor.graph import GraphLowering
    from torch._inductor.virtualized import V
    from torch._subclasses.fake_tensor import FakeTensorMode

    network, fake = _network(model), FakeTensorMode(allow_non_fake_inputs=True)
    with fake, torch.no_grad():
        network.to_empty(device="cuda")
        image = torch.empty(batch, 3, image_size, image_size, device="cuda")
    with torch.no_grad(), _autocast():
        program, _ = aot_export_module(network, (image,), trace_joint=False, decompositions=select_decomp_table())
    inputs = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"]
    fuse_attention._sfdp_init = lambda *_: None  # its patterns are made on the device; these networks call the fused kernels
    pad_mm._pad_mm_init = misc_patterns._misc_patterns_init = lambda *_: None  # the former times products on the device
    with _stand_in(), V.set_fake_mode(fake), torch.no_grad():
        joint_graph_passes(program)
        view_to_reshape(program)
        post_grad_passes(program, is_inference=True)
        lowered = GraphLowering(program, example_inputs=inputs, is_inference=True)
        with V.set_graph_handler(lowered), V.set_debug_handler(DebugContext()):
            lowered.run(*inputs)
            lowered.codegen()
            nodes = [n for n in lowered.scheduler.nodes if not n.is_extern() and not type(n).__name__.startswith("Nop")]
            moved = sum(int(n.get_read_write_buffers_sizes()) for n in nodes)
    facts = (model, image_size, batch, torch.__version__.partition("+")[0], int(lowered.layout_opt), len(nodes), f"{moved / 1e9:.4f}")
    return dict(zip(FIELDS, facts, strict=True))


def _network(model: str) -> Any:
    import timm
    import torch

    class Tupled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = timm.create_model(model)

        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor]:
            return (self.network(image),)

    timm.layers.set_fast_norm(True)
    with torch.device("meta"):
        return Tupled().eval().requires_grad_(False)


@contextlib.contextmanager
def _autocast() -> Iterator[None]:
    """Autocast for CUDA, also where none is."""
    import torch

    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", torch.float16)
    try:
        yield
    finally:
        torch.set_autocast_enabled("cuda", False)


@contextlib.contextmanager
def _stand_in() -> Iterator[None]:
    """Answer what Inductor asks of a GPU as CARD would, also where none is."""
    import torch
    import triton
    from torch._dynamo.device_interface import CudaInterface
    from triton.backends.compiler import GPUTarget

    chip = {"max_shared_mem": 101376, "multiprocessor_count": 128, "warpSize": 32}
    driver = types.SimpleNamespace(
        get_current_target=lambda: GPUTarget("cuda", 89, 32), get_current_device=lambda: 0, get_current_stream=lambda *_: 0,
        is_active=lambda: True, get_device_interface=lambda: torch.cuda,
        utils=types.SimpleNamespace(get_device_properties=lambda *_: chip),
    )  # fmt: skip
    triton.runtime.driver.set_active(driver)
    answers: Mapping[str, Any] = {"get_device_properties": CARD, "get_device_capability": (8, 9), "current_device": 0, "device_count": 1}
    answers = {**answers, "is_available": True, "synchronize": None, "_lazy_init": None}
    before = {name: getattr(torch.cuda, name) for name in answers}
    for name, answer in answers.items():
        setattr(torch.cuda, name, lambda *_, _answer=answer, **__: _answer)
    CudaInterface.get_compute_capability = staticmethod(lambda *_: 89)
    CudaInterface.get_device_properties = staticmethod(lambda *_: CARD)
    CudaInterface.current_device = staticmethod(lambda: 0)
    CudaInterface.is_available = staticmethod(lambda: True)
    CudaInterface.Worker.get_device_properties = staticmethod(lambda *_: CARD)
    CudaInterface.Worker.current_device = staticmethod(lambda *_: 0)
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(torch.cuda, name, function)


def row_of(named: str, batch: int) -> dict[str, Any]:
    """Ask Inductor in a process of its own."""
    command = [sys.executable, __file__, "row", named, "--batch", str(batch)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def list_kernels(networks: list[str], batch: int, jobs: int) -> None:
    """Write what Inductor makes of each network, named with its image size after a colon where that is not 224."""
    with RESULTS.open("w", newline="", encoding="utf-8") as file, ThreadPoolExecutor(jobs) as pool:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        asked = [pool.submit(row_of, named, batch) for named in networks]
        for i, (named, found) in enumerate(zip(networks, asked, strict=True), 1):
            try:
                writer.writerow(found.result())
                file.flush()
                print(f"{i}/{len(networks)} {named}", file=sys.stderr)
            except RuntimeError as error:
                print(f"{i}/{len(networks)} {named}: {error}", file=sys.stderr)


def compare() -> None:
    """Print predicted over generated: kernels, and bytes."""
    from roofline.cost import cost, work
    from roofline.tracing.source import trace
    from roofline.transforms.fusion import PRODUCTS
    from roofline.transforms.inductor import prefers_channels_last
    from roofline.transforms.modes import execute
    from roofline.transforms.precision import to_precision

    calls = PRODUCTS | {"attention"}
    ratios: list[tuple[float, float]] = []
    with RESULTS.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    print(f"{'network':36s} {'kernels':>8s} {'':>6s} {'GB':>8s} {'':>6s}")
    for row in rows:
        traced = trace(row["model"], image_size=int(row["image_size"]))
        graph = execute(to_precision(traced, "amp"), "compiled", 0.0, "nchw").with_batch(int(row["batch"]))
        kernels = [[graph.ops[i] for i in ids] for ids in graph.kernels]
        kernels = [ops for ops in kernels if not all(map(graph.is_view, ops)) and not any(work(op, graph).kind in calls for op in ops)]
        moved = sum(cost(ops, graph).bytes for ops in kernels)
        ratios.append((len(kernels) / int(row["kernels"]), moved / 1e9 / float(row["gigabytes"])))
        order = "" if prefers_channels_last(traced) == (row["channels_last"] == "1") else "  in another layout"
        print(f"{row['model']:36s} {row['kernels']:>8s} {ratios[-1][0]:6.2f} {row['gigabytes']:>8s} {ratios[-1][1]:6.2f}{order}")
    for name, values in zip(("kernels", "bytes"), np.array(ratios).T, strict=True):
        low, middle, high = np.quantile(values, (0.1, 0.5, 0.9))
        close = np.mean(np.abs(values - 1) <= 0.03)
        print(f"{name}: predicted over generated {middle:.2f} ({low:.2f} to {high:.2f}), {close:.0%} within 3 %, {len(values)} networks")


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("list", "row", "compare"))
    parser.add_argument("networks", nargs="*", default=[], help="names of timm, with an image size after a colon")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    options = parser.parse_args()
    if options.what == "compare":
        compare()
    elif options.what == "row":
        model, _, size = options.networks[0].partition(":")
        print(json.dumps(generated(model, int(size or 224), options.batch)))
    else:
        list_kernels(options.networks or list(NETWORKS), options.batch, options.jobs)


if __name__ == "__main__":
    main()
