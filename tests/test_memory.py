"""Memory of inference: against the storages that PyTorch really holds, by hand, and the search for the largest batch."""

import json
from pathlib import Path

import pytest
import timm
import torch
from devices import DRAM, device
from peak import inference_peak
from strategies import traced
from torch import nn

import roofline
from roofline.cli import run
from roofline.costmodel.memory import growth, lifetimes, live_bytes, storage_bytes
from roofline.errors import RooflineError, UnsupportedError
from roofline.studies.footprint import Footprint, capacity
from roofline.transforms.modes import execute

FP32 = 4  # bytes


def chain() -> nn.Sequential:
    """Two layers on 100 numbers: 300 in between."""
    return nn.Sequential(nn.Linear(100, 300, bias=False), nn.Linear(300, 50, bias=False))


# --- against a real run ------------------------------------------------------------------------------------------------

SMALL = [("resnet18", 64), ("efficientnet_b0", 64), ("mobilenetv3_large_100", 64), ("convnext_atto", 64)]
SLOW = [("resnet50", 128), ("densenet121", 128), ("vit_tiny_patch16_224", 224), ("efficientnet_b1", 128), ("regnety_002", 128)]


def compare(name: str, size: int, batch: int) -> tuple[float, int]:
    """Predict and measure the peak of one inference."""
    predicted = roofline.memory(name, batch=batch, image_size=size).total
    return predicted, inference_peak(timm.create_model(name), torch.randn(batch, 3, size, size))


@pytest.mark.parametrize(("name", "size"), SMALL)
@pytest.mark.parametrize("batch", [1, 6])
def test_the_peak_is_what_a_run_holds(name: str, size: int, batch: int) -> None:
    predicted, measured = compare(name, size, batch)
    assert predicted == pytest.approx(measured, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), SLOW)
@pytest.mark.parametrize("batch", [2, 8])
def test_the_peak_of_larger_networks_is_within_a_tenth(name: str, size: int, batch: int) -> None:
    predicted, measured = compare(name, size, batch)
    assert predicted == pytest.approx(measured, rel=0.1)


# --- by hand -----------------------------------------------------------------------------------------------------------


def test_a_chain_holds_its_input_what_it_makes_and_the_weights() -> None:
    found = roofline.memory(chain(), batch=10, example_inputs=(1, 100))
    # while the first layer runs: 100 + 300 an item; while the second does: 100 (the caller's) + 300 + 50
    assert found.parts == {
        "weights": (100 * 300 + 300 * 50) * FP32, "buffers": 0, "optimizer state": 0,
        "inputs": 10 * 100 * FP32, "activations": 10 * 350 * FP32,
    }  # fmt: skip
    assert found.total == (45_000 + 10 * 450) * FP32
    assert (found.layer, found.kernel, found.phase) == ("1", "linear", "forward")
    assert dict(found.owners) == {"0": 12_000, "input0": 4_000, "1": 2_000}
    assert found.fits(found.total)
    assert not found.fits(found.total - 1)


def test_a_module_holds_what_it_was_called_with_until_it_returns() -> None:
    """The inner block needs its input once; whoever called the block keeps it all the while."""
    inner = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 100), nn.Linear(100, 8))
    graph = traced(nn.Sequential(nn.Linear(8, 8), inner), (1, 8))
    found = {called: lifetimes(graph, called=called) for called in (False, True)}
    sizes = {called: live_bytes(f, storage_bytes(f, graph, growth(graph))).sum(axis=0).tolist() for called, f in found.items()}
    # input and result of each layer, and the graph's input of 8 throughout
    assert sizes[False] == [FP32 * n for n in (8 + 8, 8 + 8 + 8, 8 + 8 + 100, 8 + 100 + 8)]
    # inside the block, the 8 numbers it was called with too
    assert sizes[True] == [FP32 * n for n in (8 + 8, 8 + 8 + 8, 8 + 8 + 8 + 100, 8 + 8 + 100 + 8)]


def test_what_stays_in_a_kernel_takes_no_memory_but_a_view_of_it_that_leaves_does() -> None:
    inside = execute(traced(lambda x: (x + 1).relu(), (2, 6)), "compiled", 0)
    assert len(inside.kernels) == 1
    assert lifetimes(inside).roots.tolist() == [0, inside.outputs[0]]
    seen = execute(traced(lambda x: (x + 1).view(3, 4) @ torch.ones(4, 5), (2, 6)), "compiled", 0)
    made = seen.ops[0].outputs[0]
    assert made in lifetimes(seen).roots.tolist()


def test_half_precision_halves_the_memory() -> None:
    full, half = (roofline.memory("resnet18", batch=4, precision=p, image_size=64).total for p in ("fp32", "fp16"))
    assert half == pytest.approx(full / 2, rel=1e-3)  # but for the counters of batch norms


def test_memory_is_a_polynomial_of_the_batch() -> None:
    footprint = Footprint.of(roofline.trace("mobilenetv2_100", image_size=64))
    again = Footprint.of(roofline.trace("mobilenetv2_100", image_size=64).with_batch(37))
    assert footprint.totals([1, 5, 37]).tolist() == again.totals([1, 5, 37]).tolist()
    assert footprint.at(37).total == pytest.approx(footprint.totals([37])[0])


# --- what fits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [None, "sgd"])
def test_the_largest_batch_fits_and_one_more_does_not(optimizer: str | None) -> None:
    graph = roofline.trace("resnet18", image_size=64, optimizer=optimizer)
    footprint = Footprint.of(graph, optimizer=optimizer)
    sizes = [2e8, 1e9, 16e9]
    for batch, size in zip(footprint.largest(sizes), sizes, strict=True):
        assert batch > 0
        assert footprint.totals([batch])[0] <= size < footprint.totals([batch + 1])[0]


def test_a_size_that_holds_exactly_ten_items_fits_ten() -> None:
    graph = roofline.trace(chain(), (1, 100))
    room = (45_000 + 10 * 450) * FP32
    assert roofline.largest_batch(graph, room) == 10
    assert roofline.largest_batch(graph, room - 1) == 9
    assert roofline.largest_batch(graph, 45_000 * FP32) == 0


def test_a_device_and_its_size_in_words_fit_the_same() -> None:
    graph = roofline.trace(chain(), (1, 100))
    small = device(memory=(DRAM,))  # 8 GB
    assert roofline.largest_batch(graph, small) == roofline.largest_batch(graph, "8GB") == roofline.largest_batch(graph, 8e9)
    assert capacity("1GiB") == 2**30


@pytest.mark.parametrize("bad", ["11XB", "0GB", -1.0, float("nan")])
def test_a_size_that_is_none_is_named(bad: str | float) -> None:
    with pytest.raises(RooflineError, match="bad memory size"):
        capacity(bad)


def test_a_graph_of_fixed_shapes_has_one_batch() -> None:
    class Fixed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(4, 9).relu()

    graph = roofline.trace(Fixed(), (2, 6, 3))
    footprint = Footprint.of(graph)
    assert footprint.at(2).total == footprint.totals([2])[0]
    with pytest.raises(RooflineError, match="fixed"):
        footprint.largest([1e9])
    with pytest.raises(RooflineError, match="fixed at batch 2"):
        footprint.at(3)


def test_mode_ideal_and_training_in_int8_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="ideal"):
        roofline.memory("resnet18", mode="ideal")
    with pytest.raises(UnsupportedError, match="cannot train in int8"):
        roofline.memory("resnet18", optimizer="sgd", precision="int8")


# --- the command -------------------------------------------------------------------------------------------------------


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the command line, which must succeed in silence on stderr, and give what it prints."""
    code = run(list(arguments))
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    assert "{" in out or max(len(line) for line in out.splitlines() if not line.startswith("wrote")) <= 80
    return out


def test_the_command_says_where_the_peak_is_and_what_fits(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "memory", "efficientnet_b0", "-b", "8", "--hw", "t4", "--memory", "10MB")
    expected = roofline.memory("efficientnet_b0", batch=8)
    assert expected.layer in out
    fitted = {line.split()[0]: line.split()[-2:] for line in out.splitlines() if line.startswith(("t4 ", "10MB "))}
    assert fitted == {"t4": ["yes", str(roofline.largest_batch("efficientnet_b0", "t4"))], "10MB": ["NO", "0"]}
    assert "not included: workspace of libraries" in out


def test_the_command_finds_the_largest_batches(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "memory", "resnet18", "--train", "--fit", "--hw", "t4", "--memory", "1MB", "--image-size", "64", "--json")
    found = {(row["hardware"], row["optimizer"]): row["largest_batch"] for row in json.loads(out)["largest"]}
    assert found["t4", None] == roofline.largest_batch("resnet18", "t4", image_size=64)
    assert found["t4", "momentum"] == roofline.largest_batch("resnet18", "t4", image_size=64, optimizer="momentum")
    assert found["1MB", None] == found["1MB", "momentum"] == 0


def test_the_command_writes_each_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / f"a{suffix}" for suffix in (".json", ".csv", ".md")]
    options = [part for file in files for part in ("-o", str(file))]
    printed(capsys, "memory", "resnet18", "-b", "1,4", "--memory", "1GB", *options)
    total = roofline.memory("resnet18", batch=4).total
    assert json.loads(files[0].read_text())["memory"][1]["total_bytes"] == total
    assert f"{total}" in files[1].read_text()
    assert "| 4 |" in files[2].read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fit"], "--fit needs somewhere to fit"),
        (["--memory", "lots"], "bad memory size 'lots'"),
        (["--optimizer", "lion"], "unknown optimizer 'lion'; use one of sgd, momentum, adam, adamw, rmsprop"),
        (["-b", "0"], "bad batch size 0"),
        (["--mode", "ideal"], "mode ideal depends on the caches"),
        (["--train", "--mode", "engine"], "mode engine runs inference only"),
        (["-o", "a.html"], "unknown suffix; use .json, .csv, .md"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["memory", "resnet18", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert len(err.splitlines()) == 1
