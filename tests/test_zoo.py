"""Baselines have their published size, and families are put side by side with their published accuracy."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from studies import CHEAP, FAST, analyzed

import roofline
from roofline.cli import run
from roofline.errors import ModelError, RooflineError, UnknownNameError
from roofline.report.zoo import to_html
from roofline.studies import accuracy
from roofline.studies.families import CURATED
from roofline.studies.zoo import Entry, Member, Zoo, choose_entries, zoo
from roofline.tracing.own import LISTED, make

# --- baselines ------------------------------------------------------------------------------------------------------------

BASELINES = {
    # parameters in M and G MACs of one image at the network's own size
    "nasnetalarge": (88.9, 23.8),  # Zoph et al. 2018, https://arxiv.org/abs/1707.07012, table 2: NASNet-A (6 @ 4032), 331 pixels
    "pnasnet5large": (86.1, 25.0),  # Liu et al. 2018, https://arxiv.org/abs/1712.00559, table 5, 331 pixels
    "senet154": (115.09, 20.7),  # Cadene's pretrained-models.pytorch; SENet-154 of Hu et al., https://arxiv.org/abs/1709.01507
    "resnet152": (60.2, 11.5),  # torchvision counts 11.514 (weights.meta); He et al. say 11.3 for a stride elsewhere
    "mobilenetv1_100": (4.2, 0.569),  # Howard et al. 2017, https://arxiv.org/abs/1704.04861, table 4
    "mobilenetv2_100": (3.4, 0.300),  # Sandler et al. 2018, https://arxiv.org/abs/1801.04381, table 4
    "mobilenetv3_large_100": (5.4, 0.219),  # Howard et al. 2019, https://arxiv.org/abs/1905.02244, table 3
    "mobilenetv3_small_100": (2.5, 0.056),  # the same, table 4 (recalled)
    "inception_v4": (42.7, 12.3),  # pretrained-models.pytorch, and tf-slim (recalled)
}

TORCHVISION = (
    "alexnet", "vgg16", "vgg19", "squeezenet1_1", "resnet50", "resnext50_32x4d", "wide_resnet50_2", "densenet121", "densenet201",
    "mobilenet_v2", "mobilenet_v3_large", "mnasnet1_0", "shufflenet_v2_x1_0", "googlenet", "efficientnet_b0",
)  # fmt: skip


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_has_its_published_parameters_and_macs(name: str) -> None:
    graph = roofline.trace(name)
    report = roofline.analyze(graph, "t4")
    params, gmacs = BASELINES[name]
    assert report.params == pytest.approx(params * 1e6, rel=0.035)  # papers round, and count batch norms or not
    assert report.macs == pytest.approx(gmacs * 1e9, rel=0.02)


@pytest.mark.parametrize("name", TORCHVISION)
def test_a_baseline_counts_what_torchvision_counts(name: str) -> None:
    from torchvision.models import get_model_weights

    meta = next(iter(get_model_weights(name))).meta
    report = roofline.analyze(f"torchvision:{name}", "t4")
    assert report.params == meta["num_params"]
    assert report.macs == pytest.approx(meta["_ops"] * 1e9, rel=0.005, abs=1e6)


AMOEBANETS = {
    # Real et al. 2018, https://arxiv.org/abs/1802.01548, table 2; B (18, 512) and D: Huang et al. 2019, GPipe,
    # https://arxiv.org/abs/1811.06965, section 4 and table 1 (all recalled)
    "amoebanet_a_18_190": 86.7,
    "amoebanet_a_18_204": 99.6,
    "amoebanet_a_18_448": 469,
    "amoebanet_a_12_50": 5.1,
    "amoebanet_b_18_512": 557,
    "amoebanet_d_18_416": 318,
    "amoebanet_d_18_544": 542,
    "amoebanet_d_36_544": 1050,
}


@pytest.mark.parametrize("name", AMOEBANETS)
def test_an_amoebanet_has_its_published_parameters(name: str) -> None:
    with torch.device("meta"):
        params = sum(p.numel() for p in make(name).parameters())
    assert params == pytest.approx(AMOEBANETS[name] * 1e6, rel=0.01)


def test_amoebanet_a_has_its_published_macs() -> None:
    assert roofline.analyze("amoebanet_a_18_190", "t4").macs == pytest.approx(23.1e9, rel=0.01)  # Real et al., table 2, 331 pixels


@pytest.mark.parametrize("letter", ["a", "b", "d"])
@pytest.mark.parametrize("size", [64, 75])
def test_amoebanets_take_images_of_even_and_odd_sizes(letter: str, size: int) -> None:
    with torch.device("meta"), torch.no_grad():
        assert make(f"amoebanet_{letter}_3_16").eval()(torch.zeros(2, 3, size, size)).shape == (2, 1000)


YOLO_M = {
    "yolov8": (3.2, 11.2, 25.9, 43.7, 68.2),
    "yolov8_seg": (3.4, 11.8, 27.3, 46.0, 71.8),
    "yolov8_pose": (3.3, 11.6, 26.4, 44.4, 69.4),
    "yolov8_cls": (2.7, 6.4, 17.0, 37.5, 57.4),
    "yolo11": (2.6, 9.4, 20.1, 25.3, 56.9),
    "yolo11_seg": (2.9, 10.1, 22.4, 27.6, 62.1),
    "yolo11_pose": (2.9, 9.9, 20.9, 26.2, 58.8),
    "yolo11_obb": (2.7, 9.7, 20.9, 26.2, 58.8),
}
"""Millions of parameters of sizes n, s, m, l and x: the READMEs of Ultralytics 8.0.200 and 8.3.0, rounded or cut."""


@pytest.mark.parametrize(("kind", "size"), [(kind, size) for kind in YOLO_M for size in range(5)])
def test_a_yolo_has_its_published_parameters(kind: str, size: int) -> None:
    generation, _, task = kind.partition("_")
    with torch.device("meta"):
        net = make(generation + "nsmlx"[size] + (f"_{task}" if task else ""))
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(YOLO_M[kind][size], abs=0.1)


def test_a_yolo_has_its_published_flops() -> None:
    published = {"yolov8x": 257.8, "yolov8n": 8.7, "yolo11m": 68.0, "yolo11x_obb": 520.2}  # GFLOPs, of the same READMEs
    for name, gflops in published.items():
        assert 2 * roofline.analyze(name, "t4").macs == pytest.approx(gflops * 1e9, rel=0.02)


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("yolov8n", [(2, 84, 252)]),
        ("yolov8n_seg", [(2, 116, 252), (2, 32, 24, 32)]),
        ("yolo11n_pose", [(2, 56, 252)]),
        ("yolo11n_obb", [(2, 20, 252)]),
        ("yolo11n-cls", [(2, 1000)]),
    ],
)
def test_yolos_run_and_tell_what_their_task_asks(name: str, shapes: list[tuple[int, ...]]) -> None:
    with torch.no_grad():
        found = make(name).eval()(torch.rand(2, 3, 96, 128))
    found = found if isinstance(found, tuple) else (found,)
    assert [tuple(t.shape) for t in found] == shapes  # 12 x 16, 6 x 8 and 3 x 4 cells
    assert all(t.isfinite().all() for t in found)


def test_boxes_of_a_yolo_lie_where_their_cells_are() -> None:
    net = make("yolov8n").eval()
    for stack in net.head.boxes:  # type: ignore[union-attr]
        torch.nn.init.zeros_(stack[-1].weight)
        torch.nn.init.zeros_(stack[-1].bias)
    with torch.no_grad():
        boxes = net(torch.rand(1, 3, 64, 96))[0][0, :4]
    assert boxes[:2, 0].tolist() == pytest.approx([4, 4], abs=1e-3)  # every distance equally likely: as far to all sides
    assert boxes[:2, 1].tolist() == pytest.approx([12, 4], abs=1e-3)
    assert boxes[:2, -1].tolist() == pytest.approx([80, 48], abs=1e-3)
    with torch.no_grad():  # as many cells, but elsewhere
        assert net(torch.rand(1, 3, 96, 64))[0][0, :2, -1].tolist() == pytest.approx([48, 80], abs=1e-3)


def test_a_yolo_names_the_sizes_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["analyze", "yolov8n", "--hw", "t4", "--image-size", "333"]) == 2
    assert capsys.readouterr().err == "error: YOLO takes images whose sides are multiples of 32, not 333x333\n"


@pytest.mark.parametrize("name", ["amoebanet_b_17_512", "amoebanet_a_0_64", "amoebanet_d_18_4"])
def test_an_amoebanet_that_cannot_be_is_an_error(name: str) -> None:
    with pytest.raises(ModelError, match="a multiple of 3 cells and at least 8 filters"):
        roofline.trace(name)


def test_own_networks_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "amoebanet"]) == 0
    assert set(capsys.readouterr().out.split()) == {name for name in LISTED if name.startswith("amoebanet")}


# --- the table ------------------------------------------------------------------------------------------------------------


def test_the_curated_networks_have_a_published_accuracy() -> None:
    entries = choose_entries(())
    assert len(entries) == sum(map(len, CURATED.values()))
    assert 40 <= len(entries) <= 60
    assert all(entry.top1 is not None and 50 < entry.top1 < 90 and entry.source for entry in entries)


def test_the_accuracy_is_that_of_the_weights_at_the_size() -> None:
    entry = choose_entries(("resnet50",))[0]
    assert (entry.top1, entry.image_size, entry.weights) == (76.156, 224, "resnet50.tv_in1k")


def test_the_best_weights_saw_no_other_images() -> None:
    found = accuracy.best("convnext_small")
    assert found is not None
    assert (found.weights, found.image_size, found.top1) == ("convnext_small.fb_in1k", 288, 83.704)
    assert accuracy.best("no_such_network") is None


def test_patterns_and_families_choose() -> None:
    assert [e.name for e in choose_entries(("efficientnet_b[01]",))] == ["efficientnet_b0", "efficientnet_b1"]
    assert {e.family for e in choose_entries((), ("senet",))} == {"SENet"}
    assert choose_entries(("net.py:build",)) == (Entry("net.py:build", "own", None),)


@pytest.mark.parametrize(
    ("patterns", "families", "message"), [(("zzz*",), (), "matches 'zzz\\*'"), ((), ("zzz",), "no network is of the family zzz")]
)
def test_what_matches_nothing_is_an_error(patterns: tuple[str, ...], families: tuple[str, ...], message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        choose_entries(patterns, families)


def made(*figures: tuple[str, float | None, int]) -> Zoo:
    """Make a zoo of networks with a name, an accuracy and a batch, on two devices: more items take longer."""
    members = []
    for name, top1, batch in figures:
        analyses = tuple(replace(analyzed(d, batch=batch), batch=1) for d in (CHEAP, FAST))
        members.append(Member(Entry(name, "family", 224, top1, "w", "s"), analyses))
    return Zoo(tuple(members))


def test_the_front_holds_whom_nobody_beats() -> None:
    found = made(("small", 60.0, 1), ("worse", 55.0, 2), ("middle", 70.0, 2), ("unknown", None, 1), ("large", 80.0, 9), ("waste", 79.0, 10))
    time = found.axes[2]
    assert time.key == "cheap b1"
    assert [m.entry.name for m in found.front(time)] == ["small", "middle", "large"]


def test_ranks_are_one_for_the_same_order_and_less_for_another() -> None:
    found = made(("a", 60.0, 1), ("b", 70.0, 2), ("c", 80.0, 3))
    assert found.with_accuracy(found.axes[2]) == pytest.approx(1)
    assert found.correlation(found.axes[2], found.axes[3]) == pytest.approx(1)
    turned = made(("a", 80.0, 1), ("b", 70.0, 2), ("c", 60.0, 3))
    assert turned.with_accuracy(turned.axes[2]) == pytest.approx(-1)


def test_a_network_that_fails_does_not_take_the_others_along() -> None:
    found = zoo(("resnet18", "no_such_net"), "t4")
    assert [m.entry.name for m in found.members] == ["resnet18"]
    assert found.failures[0][0] == "no_such_net"
    assert "failed: no_such_net: unknown model" in "\n".join(found.lines())
    with pytest.raises(RooflineError, match="unknown model 'no_such_net'"):
        zoo(("no_such_net",), "t4")


def test_time_and_macs_rank_networks_differently() -> None:
    found = zoo(("mobilenetv3_large_100", "resnet18", "resnet50", "vgg16"), "t4")
    macs, _, time = found.axes
    assert found.correlation(macs, time) < 1  # MobileNetV3 has an eighth of the MACs of ResNet-18 and waits longer for its host


def test_the_command_writes_all_formats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [tmp_path / f"zoo.{suffix}" for suffix in ("html", "json", "csv")]
    names = ["mobilenetv3_small_100", "resnet18", "alexnet"]
    assert run(["zoo", *names, "--hw", "t4,v100", "-b", "1,64", *(w for p in paths for w in ("-o", str(p)))]) == 0
    text = capsys.readouterr().out
    assert max(map(len, [line for line in text.splitlines() if not line.startswith("wrote")])) <= 80
    assert "56.5" in text  # AlexNet's top-1
    body = json.loads(paths[1].read_text())
    assert len(body["networks"]) == 3 * 2 * 2
    assert body["fronts"]["MACs"] == ["mobilenetv3_small_100", "resnet18"]
    assert len(list(csv.DictReader(io.StringIO(paths[2].read_text())))) == 12
    page = paths[0].read_text()
    assert "zoo-plot" in page
    assert "http" not in page.split("<body>")[1].split('<script type="application/gzip"')[0]


def test_a_hostile_name_is_harmless_in_the_page_and_the_terminal() -> None:
    found = made(("</script><img src=x>\x1b[2J", 60.0, 1), ("b", 70.0, 2))
    page = to_html(found)
    assert "<img" not in page
    assert "\x1b" not in page
    assert all(line.isprintable() for line in found.lines())
