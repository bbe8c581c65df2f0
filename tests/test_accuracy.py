"""The page of errors: its figures on a table small enough to count by hand, and the real one against what is written."""

import importlib.util
import math
import re
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
HEADER = (
    "dataset,device,model,family,mode,precision,layout,batch,image_size,fold,excluded,measured_s,limit_s,"
    "network_left_out_s,family_left_out_s,device_left_out_s"
)


@cache
def load() -> ModuleType:
    """Import docs/accuracy.py, which is in no package."""
    spec = importlib.util.spec_from_file_location("accuracy", ROOT / "docs" / "accuracy.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["accuracy"] = module
    spec.loader.exec_module(module)
    return module


def row(
    model: str = "resnet50", *, predicted: float = 1.0, dataset: str = "a", device: str = "t4", family: str = "resnet", mode: str = "eager",
    batch: int = 1, fold: int = 0, excluded: int = 0, measured: float = 1.0, limit: float = 0.5, others: tuple[float, float] | None = None,
) -> str:  # fmt: skip
    family_out, device_out = others or (predicted, predicted)
    facts = (dataset, device, model, family, mode, "fp32", "nchw", batch, 224, fold, excluded)
    return ",".join(map(str, (*facts, measured, limit, predicted, family_out, device_out)))


@pytest.fixture
def table(tmp_path: Path) -> Any:
    def written(*rows: str) -> Any:
        path = tmp_path / "left_out.csv"
        path.write_text("\n".join((HEADER, *rows)) + "\n")
        return load().read(path)

    return written


def cells(text: str, first: str) -> list[str]:
    """The cells of the one line of a Markdown table that begins with *first*."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {first} |")]
    return line.strip("| ").split(" | ")


@cache
def real() -> Any:
    return load().read()


def test_figures_are_those_counted_by_hand(table: Any) -> None:
    """Errors 10, 20, 30, 40 and 50 %: median 30 %, 90th percentile 46 % (0.6 of the way from 40 to 50), bias 1.1."""
    ratios = (1.1, 1.2, 0.7, 0.6, 1.5)
    scores = table(*(row(f"net{i}", predicted=ratio, measured=1.0, others=(1.25, 0.5)) for i, ratio in enumerate(ratios)))
    found = cells(load().by_dataset(scores), "`a`")
    assert found[:6] == ["`a`", "t4 eager, fp32", "5", "30 %", "46 %", "1.10"]
    assert found[8:] == ["25 %", "25 %", "50 %", "50 %", "50 %"]


def test_intervals_come_from_the_other_folds(table: Any) -> None:
    """Eleven networks of folds 1 to 4 were measured at 0.90, 0.91 ... 1.00 of the prediction: an interval from 0.91 to 0.99."""
    others = [row(f"net{i}", fold=1 + i % 4, measured=0.90 + i / 100) for i in range(11)]
    mine = [row(f"mine{i}", measured=measured) for i, measured in enumerate((0.905, 0.95, 0.98, 1.2))]
    scores = table(*others, *mine)
    tested = scores.where(lambda p: p.model.startswith("mine"))
    assert [(round(p.low, 6), round(p.high, 6)) for p in tested.points] == [(0.91, 0.99)] * 4
    assert load().covers(tested.network) == 0.5  # 0.95 and 0.98 lie inside


def test_a_run_of_one_fold_has_no_interval(table: Any) -> None:
    scores = table(*(row(f"net{i}", fold=2) for i in range(9)))
    assert all(math.isnan(p.low) for p in scores.points)
    assert cells(load().intervals(scores), "t4, eager, nchw")[4] == "-"


def test_excluded_rows_set_no_interval_and_count_apart(table: Any) -> None:
    others = [row(f"net{i}", fold=1) for i in range(8)]
    far = [row(f"far{i}", fold=2, measured=9.0, excluded=1, dataset="paddleclas-t4-engine") for i in range(22)]
    scores = table(*others, *far, row("mine"))
    assert [(p.low, p.high) for p in scores.points if not p.excluded][-1] == (1.0, 1.0)
    assert "`paddleclas-t4-engine`" not in load().TABLES["convolutional"](scores)
    assert cells(load().apart(scores), "`paddleclas-t4-engine`")[2] == "22"
    assert load().exclusions(scores).startswith("- low trust")


def test_the_interval_of_a_device_never_measured_comes_from_other_devices_of_its_kind(table: Any) -> None:
    """The V100 ran at 0.8 to 0.9 of what was predicted without it, a CPU at a tenth, which tells a T4 nothing."""
    v100 = [row(f"net{i}", device="v100", measured=0.8 + i / 100) for i in range(11)]
    cpu = [row(f"net{i}", device="i9-10940x", measured=0.1) for i in range(11)]
    scores = table(*v100, *cpu, row(device="t4", measured=0.85))
    (point,) = scores.where(lambda p: p.device == "t4").device.points
    assert (round(point.low, 6), round(point.high, 6)) == (0.81, 0.89)
    assert point.inside


def test_sizes_of_one_processor_tell_each_other_nothing_of_devices_never_measured(table: Any) -> None:
    sizes = ("c5.2xlarge", "c5.4xlarge")
    scores = table(*(row(f"net{i}", device=size, mode="engine") for size in sizes for i in range(9)))
    assert all(math.isnan(p.low) for p in scores.device.points)


def test_convolutional_networks_stand_apart_from_all(table: Any) -> None:
    scores = table(row(), row("vit_small_patch16_224", family="vision_transformer", predicted=3.0))
    assert cells(load().TABLES["convolutional"](scores), "`a`")[2:4] == ["1", "0 %"]
    assert cells(load().TABLES["all"](scores), "`a`")[2:4] == ["2", "100 %"]


def test_efficientnets_have_a_column_for_each_size_and_a_line_for_those_of_tensorflow(table: Any) -> None:
    family = "efficientnet"
    scores = table(
        row("efficientnet_b0", family=family, predicted=1.1), row("efficientnet_b3", family=family, predicted=0.9),
        row("tf_efficientnet_b0", family=family, predicted=1.2), row("efficientnet_lite0", family=family),
        row("efficientnet_b0", family=family, predicted=2.0, excluded=1),
    )  # fmt: skip
    lines = load().efficientnets(scores).splitlines()
    assert lines[0].endswith("| B0 | B3 |")
    assert [line.split(" | ")[-2:] for line in lines[2:]] == [["1.10", "0.90 |"], ["1.20", "- |"], ["2.00", "- |"]]
    assert lines[2].startswith("| `a` | efficientnet |")
    assert lines[4].startswith("| `a`* | efficientnet |")


def test_batch_sizes_fall_into_their_ranges(table: Any) -> None:
    scores = table(*(row(batch=batch) for batch in (1, 2, 8, 9, 64, 65, 256, 257)))
    text = load().by_condition(scores)
    found = {name: cells(text, name)[1] for name in ("batch 1", "batch 2 to 8", "batch 9 to 64", "batch 65 to 256", "batch above 256")}
    assert list(found.values()) == ["1", "2", "2", "2", "1"]


def test_families_are_sorted_by_error(table: Any) -> None:
    errors = {"resnet": 1.02, "vgg": 1.5, "dpn": 1.1, "regnet": 0.7}
    scores = table(*(row(f"{f}{i}", family=f, predicted=r) for f, r in errors.items() for i in range(6)))
    lines = load().by_family(scores, worst=2, best=1).splitlines()[2:]
    assert [line.split(" | ")[0] for line in lines] == ["| vgg", "| regnet", "| ...", "| resnet"]


def test_the_worst_rows_count_each_network_once_with_its_factor(table: Any) -> None:
    scores = table(row("net0", predicted=0.25), row("net0", predicted=0.3, batch=8), row("net1", predicted=1.5), row("net2"))
    lines = load().worst_rows(scores, count=2).splitlines()[2:]
    assert [line.split(" | ")[-2:] for line in lines] == [["4.00 times too fast", "2 |"], ["1.50 times too slow", "0 |"]]


def test_a_cause_is_told_only_while_the_timings_bear_it_out(table: Any) -> None:
    facts = {"dataset": "timm-rtx4090-compiled", "device": "rtx4090", "family": "cait"}
    fast, right = (table(*(row(f"net{i}", predicted=ratio, **facts) for i in range(4))) for ratio in (0.2, 1.05))
    assert "- **CaiT under torch.compile**: 0.20 (n 4; " in load().suspects(fast)
    assert "yes" in load().residuals(fast)
    assert "**CaiT" not in load().suspects(right)
    assert "not off in that way now: CaiT" in load().suspects(right)


def test_only_blocks_are_filled_and_filling_twice_changes_nothing(table: Any) -> None:
    scores = table(row(predicted=1.5, family="resnet", others=(1.5, 1.25)))
    page = "before\n<!-- accuracy -->\nold\n<!-- /accuracy -->\nabout <!-- accuracy: li -->old<!-- /accuracy -->, after\n"
    once = load().filled(page, scores)
    assert once.startswith("before\n<!-- accuracy -->\n| convolutional networks |")
    assert once.endswith("<!-- /accuracy -->\nabout <!-- accuracy: li -->50 % and 25 %<!-- /accuracy -->, after\n")
    assert load().filled(once, scores) == once


def test_the_page_has_every_block_and_no_other() -> None:
    page = (ROOT / "docs" / "accuracy.md").read_text()
    assert {name for _, name, *_ in load().BLOCK.findall(page)} == set(load().TABLES)


def test_every_data_set_is_on_the_page() -> None:
    page = (ROOT / "docs" / "accuracy.md").read_text()
    assert [name for name in real().by(lambda p: p.dataset) if f"`{name}`" not in page] == []


def test_every_row_has_a_reason_if_it_is_apart() -> None:
    assert "left out of fits" not in {p.excluded for p in real().points}


def test_the_families_called_convolutional_are_not_those_with_attention() -> None:
    assert load().CONVOLUTIONAL.isdisjoint(
        {"vision_transformer", "swin_transformer", "maxxvit", "xcit", "mlp_mixer", "byoanet", "edgenext"}
    )


@pytest.mark.parametrize("name", ["README.md", "docs/accuracy.md"])
def test_what_is_written_is_what_the_results_say(name: str) -> None:
    text = (ROOT / name).read_text()
    assert re.search(load().BLOCK, text)
    assert load().filled(text, real()) == text
