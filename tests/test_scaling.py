"""Scaled networks are those that were published, and scaling to a budget keeps it."""

import csv
import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch

import roofline
from roofline.cli import run
from roofline.errors import ModelError, RooflineError, UnknownNameError
from roofline.studies.budget import SIZES, Budget, within
from roofline.studies.scaling import PUBLISHED, Mix, grid, parse_mix, parse_steps, price_mixes, scale
from roofline.studies.setting import Setting
from roofline.tracing.own import make, scaled_name

COUNTS = (
    (5.288548e6, 0.39), (7.794184e6, 0.70), (9.109994e6, 1.0), (12.233232e6, 1.8), (19.341616e6, 4.2), (30.389784e6, 9.9),
    (43.040704e6, 19), (66.34796e6, 37),
)  # fmt: skip
"""Parameters of EfficientNet-B0 to B7 (torchvision's `weights.meta["num_params"]`) and G MACs (Tan and Le 2019, table 2, which rounds)."""


def shapes(net: torch.nn.Module) -> list[tuple[str, tuple[int, ...]]]:
    """Name and shape of every parameter and buffer."""
    return [(name, tuple(tensor.shape)) for name, tensor in net.state_dict().items()]


def on_meta(name: str) -> torch.nn.Module:
    with torch.device("meta"):
        return timm.create_model(name)


def scaled(name: str) -> torch.nn.Module:
    with torch.device("meta"):
        return make(name)


# --- names ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("b", range(8))
def test_the_published_multipliers_give_the_published_networks(b: int) -> None:
    width, depth, _ = PUBLISHED[b]
    assert shapes(scaled(scaled_name("efficientnet_b0", width, depth))) == shapes(on_meta(f"efficientnet_b{b}"))


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("mobilenetv2_100_w1.4_d1", "mobilenetv2_140"),
        ("mobilenetv2_100_w0.5_d1", "mobilenetv2_050"),
        ("mobilenetv3_large_100_w0.75_d1", "mobilenetv3_large_075"),
        ("mobilenetv3_small_100_w0.5_d1", "mobilenetv3_small_050"),
        ("efficientnet_lite0_w1.1_d1.2", "efficientnet_lite2"),
        ("resnet50_w1_d1", "resnet50"),
        ("resnet18_w1_d1", "resnet18"),
        ("resnet152_w1_d1", "resnet152"),
    ],
)
def test_multipliers_of_other_families_give_their_published_networks(name: str, published: str) -> None:
    assert shapes(scaled(name)) == shapes(on_meta(published))


@pytest.mark.parametrize("b", [2, pytest.param(5, marks=pytest.mark.slow)])
def test_a_scaled_network_is_the_published_one_op_by_op(b: int) -> None:
    width, depth, size = PUBLISHED[b]
    ours = roofline.trace(scaled_name("efficientnet_b0", width, depth), image_size=size)
    theirs = roofline.trace(f"efficientnet_b{b}", image_size=size)
    assert [(op.name, op.module) for op in ours.ops] == [(op.name, op.module) for op in theirs.ops]
    assert [(t.shape, t.dtype, t.kind) for t in ours.tensors] == [(t.shape, t.dtype, t.kind) for t in theirs.tensors]


@pytest.mark.parametrize("b", [0, 1, 3, *(pytest.param(b, marks=pytest.mark.slow) for b in (2, 4, 5, 6, 7))])
def test_published_parameters_and_macs(b: int) -> None:
    width, depth, size = PUBLISHED[b]
    network = price_mixes("", [Mix("efficientnet_b0", width, depth, size)], "t4").networks[0]
    params, gmacs = COUNTS[b]
    assert network.first.params == params
    assert network.first.macs == pytest.approx(gmacs * 1e9, rel=0.05)


def test_twice_the_width_of_a_resnet_has_four_times_the_weights_of_its_blocks() -> None:
    def blocks(net: torch.nn.Module) -> int:
        return sum(p.numel() for name, p in net.named_parameters() if name.startswith(("layer2", "layer3")) and p.ndim == 4)

    assert blocks(scaled("resnet50_w2_d1")) == 4 * blocks(scaled("resnet50_w1_d1"))


def test_depth_multiplies_the_blocks_of_every_stage() -> None:
    net = scaled("resnet34_w1_d2")
    assert [len(getattr(net, f"layer{i}")) for i in (1, 2, 3, 4)] == [6, 8, 12, 6]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("efficientnet_b0_w99_d1", "cannot scale the width of efficientnet_b0 by 99; use 0.1 to 16"),
        ("resnet50_w1_d17", "cannot scale the depth of resnet50 by 17"),
    ],
)
def test_what_nobody_would_build_is_an_error(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        roofline.trace(name)


@pytest.mark.parametrize("name", ["vgg16_w1_d1", "efficientnet_b0_w1", "efficientnet_b0_wx_d1"])
def test_other_names_are_unknown(name: str) -> None:
    with pytest.raises(UnknownNameError, match="unknown model"):
        roofline.trace(name)


# --- ways -----------------------------------------------------------------------------------------------------------------


def test_each_way_changes_its_own_dimension() -> None:
    found = scale("efficientnet_b0", "t4", steps=(2,), ways=("width", "depth", "resolution", "compound"))
    mixes = {n.mix.way: (n.mix.width, n.mix.depth, n.mix.image_size) for n in found.networks}
    assert mixes == {"width": (2, 1, 224), "depth": (1, 4, 224), "resolution": (1, 1, 448), "compound": (1.21, 1.44, 296)}


def test_a_step_of_width_or_resolution_doubles_the_macs() -> None:
    networks = scale("efficientnet_b0", "t4", steps=(0, 2), ways=("width", "resolution")).networks
    macs = {(n.mix.way, n.mix.step): n.first.macs for n in networks}
    assert macs["width", 2.0] / macs["base", 0] == pytest.approx(4, rel=0.1)
    assert macs["resolution", 2.0] / macs["base", 0] == pytest.approx(4, rel=0.01)


def test_ways_are_put_side_by_side_at_the_last_step_that_all_were_built_at() -> None:
    found = scale("resnet18", "t4", steps=(0, 1, 5), ways=("depth", "resolution"))  # depth cannot take five steps
    assert {(n.mix.way, n.mix.step) for n in found.side_by_side} == {("depth", 1), ("resolution", 1)}
    text = list(found.lines())
    place = text.index("time for each GMAC at step 1, the least on t4 first")
    assert {line.split()[0] for line in text[place + 2 : place + 4]} == {"depth", "resolution"}
    assert scale("resnet18", "t4", steps=(0, 1), ways=("depth",)).side_by_side == ()


def test_a_step_beyond_what_anybody_builds_is_left_out_and_said() -> None:
    found = scale("resnet18", "t4", steps=(5,), ways=("depth", "resolution"))
    assert [mix.way for mix in found.left_out] == ["depth"]  # 32 times the blocks
    assert "not built" in "\n".join(found.lines())


def test_the_grid_spends_twice_the_macs_by_the_formula() -> None:
    found = grid("mobilenetv2_100", "t4", step=0.4)
    for network in found.networks:
        mix = network.mix
        assert mix.depth * mix.width**2 * (mix.image_size / 224) ** 2 == pytest.approx(2, rel=0.05)
    latencies = [network.first.latency for network in found.networks]
    assert latencies == sorted(latencies)
    assert {(n.mix.depth, n.mix.width) for n in found.networks} == {(1, 1), (1, 1.4), (1.4, 1), (1.8, 1)}


def test_it_is_said_that_accuracy_is_not_predicted() -> None:
    assert "accuracy is not predicted" in "\n".join(scale("resnet18", "t4", steps=(0,), ways=("width",)).lines())


# --- budget ---------------------------------------------------------------------------------------------------------------


def test_a_budget_is_kept_by_the_largest_image_that_does() -> None:
    found = within("mobilenetv2_100", 0.030, "c5.2xlarge", widths=(0.5, 1.0), depths=(1.0,))
    assert len(found.hits) == 2
    for hit in found.hits:
        assert hit.first.latency <= 0.030
        above = hit.mix.image_size + (SIZES[1] - SIZES[0])
        larger = roofline.analyze(hit.mix.name, "c5.2xlarge", image_size=above)
        assert larger.latency > 0.030
    macs = [hit.first.macs for hit in found.hits]
    assert macs == sorted(macs, reverse=True)


def test_certainty_keeps_the_slow_end_of_the_interval() -> None:
    likely, certain = (within("mobilenetv2_100", 0.03, "cpu", widths=(1.0,), depths=(1.0,), certain=c) for c in (False, True))
    assert certain.hits[0].first.interval[1] <= 0.03
    assert certain.hits[0].mix.image_size < likely.hits[0].mix.image_size


def test_what_is_too_slow_at_any_size_is_named() -> None:
    found = within("resnet50", 1e-4, "t4", widths=(1.0,), depths=(1.0,))
    assert not found.hits
    text = "\n".join(found.lines())
    assert "no mix keeps this budget" in text
    assert re.search(r"d 1 at any width: [0-9.]+ ms, bound by overhead", text)  # a hundred launches, whatever the image


def test_the_front_has_no_mix_that_another_beats_in_both() -> None:
    wide, large, beaten = (Mix("mobilenetv2_100", w, 1, px, "budget") for w, px in ((1.4, 96), (0.5, 224), (0.5, 96)))
    found = Budget("mobilenetv2_100", 1.0, False, price_mixes("", [wide, large, beaten], "t4").networks, ())
    assert found.hits[1].first.macs < found.hits[0].first.macs  # 1.4 squared outweighs the pixels
    assert found.front == {wide}
    narrow = Budget("mobilenetv2_100", 1.0, False, price_mixes("", [replace(wide, image_size=32), large, beaten], "t4").networks, ())
    assert {mix.width for mix in narrow.front} == {1.4, 0.5}


# --- reading and writing --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "steps"), [("0..3", (0, 1, 2, 3)), ("2", (2,)), ("0,1,2.5", (0, 1, 2.5)), (" 1 .. 2 ", (1, 2))])
def test_steps_are_read(text: str, steps: tuple[float, ...]) -> None:
    assert parse_steps(text) == steps


@pytest.mark.parametrize("text", ["", "a", "3..1", "1..", "-1", "1,,2", "1e3"])
def test_bad_steps_are_an_error(text: str) -> None:
    with pytest.raises(RooflineError, match="bad steps"):
        parse_steps(text)


def test_a_mix_is_read() -> None:
    assert parse_mix("efficientnet_b0", "1.2, 1.4, 300") == Mix("efficientnet_b0", 1.2, 1.4, 300)


@pytest.mark.parametrize("text", ["1,2", "0,1,224", "1,1,9", "1,1,1e3", "1.2.3,1,224", "99,1,224", "a,b,c"])
def test_a_bad_mix_is_an_error(text: str) -> None:
    with pytest.raises(RooflineError, match="bad mix"):
        parse_mix("efficientnet_b0", text)


def test_json_and_csv_hold_every_network_on_every_device(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [tmp_path / "s.json", tmp_path / "s.csv"]
    assert (
        run(["scale", "resnet18", "--hw", "t4,v100", "--phi", "0,1", "--ways", "width", *(w for p in paths for w in ("-o", str(p)))]) == 0
    )
    assert max(map(len, capsys.readouterr().out.splitlines()[:-2])) <= 80
    rows = json.loads(paths[0].read_text())["networks"]
    assert [(r["step"], r["hardware"]) for r in rows] == [(0, "t4"), (0, "v100"), (1, "t4"), (1, "v100")]
    assert rows[2]["width"] == pytest.approx(math.sqrt(2), rel=1e-3)
    assert [r["model"] for r in csv.DictReader(io.StringIO(paths[1].read_text()))] == [r["model"] for r in rows]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["vgg16"], "cannot scale 'vgg16'; what can be scaled is efficientnet_b0"),
        (["resnet18", "--phi", "x"], "bad steps 'x'"),
        (["resnet18", "--ways", "taller"], "unknown way of scaling 'taller'"),
        (["resnet18", "--ways", "published"], "resnet18 has no published scaling"),
        (["resnet18", "--growth", "1,2"], "bad growth '1,2'"),
        (["resnet18", "--growth", "nan,1,1"], "bad growth"),
        (["resnet18", "--grid", "--latency", "1ms"], "--grid and --latency are different questions"),
        (["resnet18", "--latency", "10"], "bad latency '10'"),
        (["resnet18", "--latency", "10ms", "-b", "1,2"], "one batch size"),
        (["resnet18", "--mix", "1,1"], "bad mix '1,1'"),
        (["resnet18", "-o", "x.html"], "unknown suffix"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["scale", *arguments, "--hw", "t4"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_budget_is_for_one_device(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["scale", "resnet18", "--hw", "t4,v100", "--latency", "10ms"]) == 2
    assert "one device" in capsys.readouterr().err


def test_several_batch_sizes_are_refused() -> None:
    with pytest.raises(RooflineError, match="one batch size"):
        scale("resnet18", "t4", setting=Setting(batches=(1, 8)))
