"""Checks advice: what is offered where, how it is ranked, the interval of what is saved, and every form it is written in."""

import csv
import io
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from devices import device, level
from strategies import traced, traced_cnn
from torch import nn

import roofline
from roofline.cli import run
from roofline.costmodel.analyze import analyze_grid
from roofline.costmodel.hardware import load_hardware
from roofline.studies.advice import RATIO_SPREAD, Advised, advise
from roofline.studies.advised import lines
from roofline.studies.options import STEPS, Option, options_for
from roofline.transforms.changes import parse_changes

LEFT_OUT = Path(__file__).parent.parent / "benchmarks" / "results" / "left_out.csv"
WAY = ("device", "model", "mode", "precision", "layout", "batch", "image_size")


@pytest.fixture(name="advice", scope="module")
def _advice() -> roofline.Advice:
    return advise("efficientnet_b0", "t4")


# --- the spread of ratios ----------------------------------------------------------------------------------------------


def pairs(rows: list[dict[str, str]], change: str) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """Yield published timings of one device that differ in *change* alone (and in layout, where the mode differs)."""
    if change == "graph":  # next to each other by time, in one family, set and batch
        key = ("dataset", "device", "family", "mode", "precision", "batch")
    else:
        key = tuple(name for name in WAY if name != change and not (change == "mode" and name == "layout"))
    groups: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in key), []).append(row)
    for group in groups.values():
        if change == "graph":
            ordered = sorted(group, key=lambda r: float(r["measured_s"]))
            yield from ((a, b) for a, b in itertools.pairwise(ordered) if float(b["measured_s"]) < 4 * float(a["measured_s"]))
        elif change == "batch":
            ordered = sorted(group, key=lambda r: int(r["batch"]))
            two = itertools.combinations(ordered, 2)
            yield from ((a, b) for a, b in two if 4 <= int(b["batch"]) / int(a["batch"]) <= 16)
        else:
            ordered = sorted(group, key=lambda r: r[change])
            yield from ((a, b) for a, b in itertools.combinations(ordered, 2) if a[change] != b[change])


@pytest.mark.parametrize("change", RATIO_SPREAD)
@pytest.mark.parametrize(("place", "column"), [(0, "network_left_out_s"), (1, "device_left_out_s")])
def test_the_spread_of_ratios_is_that_of_published_pairs(change: str, place: int, column: str) -> None:
    with LEFT_OUT.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["excluded"] == "0"]

    def error(row: dict[str, str]) -> float:
        return np.log(float(row["measured_s"]) / float(row[column]))

    errors = [error(b) - error(a) for a, b in pairs(rows, change)]
    assert np.exp(np.quantile(errors, [0.1, 0.9])) == pytest.approx(RATIO_SPREAD[change][place], abs=0.03)


# --- what is offered ---------------------------------------------------------------------------------------------------


def offered(hardware: str, mode: str = "eager", precision: str = "fp32") -> set[str]:
    """Name the single steps that are offered on a device."""
    return {o.name for o in options_for(roofline.load_hardware(hardware), mode, precision, "nchw") if o.steps == 1}


def test_steps_are_those_that_the_device_knows() -> None:
    assert {"fp16", "cuda-graphs", "compiled"} <= offered("t4")
    assert {"sparse=2:4", "tf32", "fp16"} <= offered("a100-40gb")
    assert offered("t4").isdisjoint({"sparse=2:4", "tf32"})
    assert offered("c5.2xlarge").isdisjoint({"cuda-graphs", "amp", "channels-last", "tf32"})
    assert "keep-memory" in offered("c5.2xlarge") - offered("t4")


def test_what_is_done_already_is_not_offered_again() -> None:
    assert "engine" not in offered("t4", mode="engine")
    assert "fp16" not in offered("t4", precision="fp16")
    assert "int8" in offered("t4", mode="engine")
    assert "int8" not in offered("t4", mode="engine", precision="int8")


@pytest.mark.parametrize("name", [name for name, option in STEPS.items() if option.what_if])
def test_every_step_is_a_what_if_that_exists(name: str) -> None:
    assert parse_changes(STEPS[name].what_if).texts == STEPS[name].what_if
    assert STEPS[name].takes


def test_larger_batches_are_not_offered_where_the_batch_is_fixed() -> None:
    from dataclasses import replace

    graph = replace(traced_cnn(("conv",)), batch=None)
    assert not any("batch" in a.option.name for a in advise(graph, "t4").ranked)


def test_what_nobody_ships_is_a_bound_and_no_advice(advice: roofline.Advice) -> None:
    assert [a.option.name for a in advice.bounds] == ["depth-first"]
    assert not any("depth-first" in a.option.name for a in advice.ranked)


# --- what it saves -----------------------------------------------------------------------------------------------------


def test_changes_are_ranked_by_the_seconds_they_save(advice: roofline.Advice) -> None:
    saved = [a.saved for a in advice.ranked]
    assert saved == sorted(saved, reverse=True)
    assert saved[-1] > 0
    assert advice.best is advice.ranked[0]


def test_a_step_that_adds_nothing_to_another_is_not_put_together_with_it(advice: roofline.Advice) -> None:
    assert "cuda-graphs + fold-bn" in {option.name for option in options_for(load_hardware("t4"), "engine", "fp32", "nchw")}
    names = {a.option.name for a in advise("efficientnet_b0", "t4", mode="engine").ranked}
    assert {"cuda-graphs", "fp16"} <= names
    assert "cuda-graphs + fold-bn" not in names  # an engine folds them anyway
    saved = {a.option.parts: a.saved for a in advice.ranked}
    assert frozenset({"fp16", "engine", "cuda-graphs"}) in saved
    assert all(saved.get(parts - {part}, 0.0) < seconds for parts, seconds in saved.items() for part in parts)


def test_savings_too_small_to_matter_are_not_named() -> None:
    text = str(advise("efficientnet_b0", "t4", mode="engine", precision="fp16"))
    assert re.search(r"fuse-se .*\n  saves in pointwise conv [0-9.]+ us\n", text)


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("compiled", {"mode": "compiled"}), ("fp16", {"precision": "fp16"}), ("fold-bn", {"what_if": ["fold-bn"]}),
        ("fp16 + engine", {"mode": "engine", "precision": "fp16"}), ("engine + int8", {"mode": "engine", "what_if": ["fold-bn", "int8"]}),
    ],
)  # fmt: skip
def test_each_is_what_analyze_says_of_it(advice: roofline.Advice, name: str, way: dict[str, str]) -> None:
    (found,) = (a for a in advice.ranked if a.option.name == name)
    before, after = roofline.analyze("efficientnet_b0", "t4"), roofline.analyze("efficientnet_b0", "t4", **way)  # type: ignore[arg-type]
    assert (advice.today.latency, found.seconds) == (before.latency, after.latency)
    assert found.saved == pytest.approx(before.latency - after.latency)


def test_a_larger_batch_is_counted_by_the_item(advice: roofline.Advice) -> None:
    (found,) = (a for a in advice.ranked if a.option.name == "batch x 8")
    assert found.seconds == pytest.approx(roofline.analyze("efficientnet_b0", "t4", batch=8).latency / 8)


def test_what_is_saved_adds_up_by_kind_and_by_layer(advice: roofline.Advice) -> None:
    for found in advice.ranked:
        assert sum(found.by_kind().values()) == pytest.approx(found.saved)
        assert sum(found.by_layer().values()) == pytest.approx(found.saved)


def test_folding_norms_saves_in_norms(advice: roofline.Advice) -> None:
    (found,) = (a for a in advice.ranked if a.option.name == "fold-bn")
    assert next(iter(found.by_kind())) == "batch norm"
    convs = sum(p.seconds for p in found.after.predictions if "conv" in p.kind)
    assert 0 < found.touched < convs < found.seconds  # those before a norm add a bias now; all else runs as before


def test_what_has_been_done_already_counts_as_today() -> None:
    today = advise("resnet18", "t4", what_if=["fold-bn"]).today
    assert today.latency == roofline.analyze("resnet18", "t4", what_if=["fold-bn"]).latency


def test_what_does_not_fit_is_named() -> None:
    small = device(memory=(level("dram", 40e3, 100e9, 80e9),))
    found = advise(traced(nn.Sequential(nn.Linear(64, 64), nn.ReLU()), (1, 64)), small, batch=16, calibrated=False)
    assert any("batch x 8" in name for name in found.too_large)
    assert not any("batch x 8" in a.option.name for a in found.ranked)


# --- intervals ---------------------------------------------------------------------------------------------------------


def test_intervals_hold_the_saving_and_save_no_more_than_there_is(advice: roofline.Advice) -> None:
    for found in (*advice.ranked, *advice.bounds):
        low, high = found.interval
        assert low < found.saved < high
        assert high <= advice.today.interval[1]


def test_a_change_of_few_kernels_is_surer_than_the_spread_of_both_times(advice: roofline.Advice) -> None:
    """Two independent errors of whole times would cover several times as much as is saved."""
    for name in ("fold-bn", "fuse-se", "fuse-activation"):
        (found,) = (a for a in advice.ranked if a.option.name == name)
        low, high = found.interval
        apart = found.before.interval[1] - found.after.interval[0]
        assert high - found.saved < (apart - found.saved) / 2
        assert low > 0


def test_a_change_that_changes_nothing_surely_saves_nothing() -> None:
    (today,) = analyze_grid(traced_cnn(("conv",)), [device()], calibrated=False)
    assert Advised(Option("nothing", what_if=("fold-bn",)), today, today).interval == (0, 0)


# --- written -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(advice: roofline.Advice, width: int) -> None:
    assert max(map(len, lines(advice, width))) <= width


def test_every_format_holds_every_change(advice: roofline.Advice) -> None:
    names = [a.option.name for a in (*advice.ranked, *advice.bounds)]
    body = json.loads(advice.to_json())
    assert [row["change"] for row in body["ranked"]] == names
    assert [row["change"] for row in body["ranked"] if row["nobody_ships_it"]] == ["depth-first"]
    table = list(csv.DictReader(io.StringIO(advice.to_csv())))
    assert [row["change"] for row in table] == names
    assert float(table[0]["saved_seconds"]) == pytest.approx(advice.ranked[0].saved)
    assert [line.split(" | ")[0].removeprefix("| ") for line in advice.to_markdown().splitlines() if line.startswith("| ")][2:] == names


def test_the_command_prints_the_advice(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["advise", "efficientnet_b0", "--hw", "t4", "--top", "3", "-o", str(tmp_path / "a.md")]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("what would help efficientnet_b0 most on NVIDIA T4 16 GB (t4)\n")
    assert "more that help less (--top" in out
    assert (tmp_path / "a.md").read_text().startswith("# What would help efficientnet_b0 most")


def test_json_prints_nothing_else(capsys: pytest.CaptureFixture[str], advice: roofline.Advice) -> None:
    assert run(["advise", "efficientnet_b0", "--hw", "t4", "--json"]) == 0
    assert capsys.readouterr().out == advice.to_json()


def test_a_network_that_nothing_helps_says_so() -> None:
    (today,) = analyze_grid(traced_cnn(("conv",)), [device()], calibrated=False)
    empty = roofline.Advice(today, ())
    assert empty.best is None
    assert "nothing that was priced saves time worth telling" in str(empty)


def test_hostile_names_are_shown_and_escaped() -> None:
    from dataclasses import replace

    graph = replace(traced_cnn(("conv", "residual")), name="<b>|\x1b[31m")
    advice = advise(graph, "t4")
    assert "\x1b" not in str(advice)
    assert "&lt;b>\\|" in advice.to_markdown()
