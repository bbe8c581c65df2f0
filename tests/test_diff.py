"""What moved between saved analyses is parted among reasons that add up to it, and each reason is what was changed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import roofline
from roofline.cli import run
from roofline.errors import RooflineError
from roofline.studies.diff import Pair, diff, held_against
from roofline.studies.diff_text import lines
from roofline.studies.saved import Layer, Saved, read

DENSE = Layer("a", "conv", "compute", 1, 4e9, 1e6, 1e-3, 2e-3, 1e-5)


def saved(*layers: Layer, hardware: str = "t4", model: str = "net", batch: int = 1) -> Saved:
    seconds = sum(layer.seconds for layer in layers)
    return Saved(
        source="x.json", tool="1", model=model, hardware=hardware, batch=batch, precision="fp32", mode="eager", layout="nchw", what_if=(),
        status="calibrated", provenance="p", latency=seconds, low=seconds, high=seconds, lower_bound=sum(layer.limit for layer in layers),
        macs=1.0, flops=sum(layer.flops for layer in layers), bytes=sum(layer.bytes for layer in layers), params=1.0, peak_memory=1.0,
        layers=layers,
    )  # fmt: skip


def parts(before: Layer, after: Layer, device: str = "t4") -> dict[str, float]:
    return dict(Pair(saved(before), saved(after, hardware=device)).parts)


# --- reasons, by hand ------------------------------------------------------------------------------------------------


def test_twice_the_arithmetic_at_the_same_efficiency_is_work_alone() -> None:
    assert parts(DENSE, replace(DENSE, flops=8e9, limit=2e-3, busy=4e-3)) == {"flops": pytest.approx(2e-3)}


def test_twice_the_traffic_of_a_memory_bound_layer_is_bytes() -> None:
    before = replace(DENSE, bound="memory", flops=1e6)
    assert parts(before, replace(before, bytes=2e6, limit=2e-3, busy=4e-3)) == {"bytes": pytest.approx(2e-3)}


def test_the_same_work_on_a_device_twice_as_fast_is_the_limit() -> None:
    assert parts(DENSE, replace(DENSE, limit=5e-4, busy=1e-3), "v100") == {"limit": pytest.approx(-1e-3)}


def test_the_same_work_and_limit_is_efficiency() -> None:
    assert parts(DENSE, replace(DENSE, busy=3e-3)) == {"efficiency": pytest.approx(1e-3)}


def test_launches_are_overhead() -> None:
    assert parts(DENSE, replace(DENSE, overhead=4e-5)) == {"overhead": pytest.approx(3e-5)}


def test_two_factors_share_a_change_by_their_logarithms() -> None:
    found = parts(DENSE, replace(DENSE, flops=16e9, limit=4e-3, busy=16e-3))  # 4 times the work, half the efficiency
    assert found["flops"] == pytest.approx(14e-3 * 2 / 3)  # log 4 / log 8
    assert found["efficiency"] == pytest.approx(14e-3 / 3)


def test_layers_that_came_and_went_are_added_and_removed() -> None:
    other = replace(DENSE, name="b", busy=5e-3)
    pair = Pair(saved(DENSE), saved(other))
    assert dict(pair.parts) == {"removed": pytest.approx(-2.01e-3), "added": pytest.approx(5.01e-3)}
    assert [(move.name, move.reason) for move in pair.moves] == [("b", "added"), ("a", "removed")]
    assert pair.by_kind()["conv"][:2] == (pytest.approx(2.01e-3), pytest.approx(5.01e-3))


# --- real analyses ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("saved")
    for name, device, options in (
        ("t4", "t4", {}),
        ("v100", "v100", {}),
        ("folded", "t4", {"what_if": ["fold-bn"]}),
        ("ceilings", "t4", {"calibrated": False}),
        ("batch", "t4", {"batch": 64}),
    ):
        roofline.analyze("test_efficientnet", device, **options).to_json(made / f"{name}.json")  # type: ignore[arg-type]
    return made


@pytest.mark.parametrize("other", ["v100", "folded", "ceilings", "batch"])
def test_reasons_kinds_and_layers_add_up_to_the_change(folder: Path, other: str) -> None:
    (pair,) = diff(folder / "t4.json", folder / f"{other}.json").pairs
    change = pair.new.latency - pair.old.latency
    assert sum(pair.parts.values()) == pytest.approx(change)
    assert sum(move.seconds for move in pair.moves) == pytest.approx(change)
    assert sum(b - a for a, b, _ in pair.by_kind().values()) == pytest.approx(change)


def test_another_calibration_changes_neither_work_nor_limit(folder: Path) -> None:
    (pair,) = diff(folder / "t4.json", folder / "ceilings.json").pairs
    assert set(pair.parts) <= {"efficiency", "overhead"}
    assert set(pair.settings) == {"status", "provenance"}


def test_folding_batch_norms_removes_their_layers(folder: Path) -> None:
    (pair,) = diff(folder / "t4.json", folder / "folded.json").pairs
    assert {move.kind for move in pair.moves if move.after is None} <= {"batch norm", "view"}
    assert pair.by_kind()["batch norm"][1] == 0


def test_the_same_file_twice_moves_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (pair,) = diff(folder / "t4.json", folder / "t4.json").pairs
    assert pair.unchanged
    assert run(["diff", str(folder / "t4.json"), str(folder / "t4.json")]) == 0
    assert "nothing moved" in capsys.readouterr().out


def test_the_saved_figures_are_those_of_the_report(folder: Path) -> None:
    (found,) = read(folder / "t4.json")
    report = roofline.analyze("test_efficientnet", "t4")
    assert (found.latency, found.lower_bound, found.flops, found.bytes) == (report.latency, report.lower_bound, report.flops, report.bytes)
    assert sum(layer.seconds for layer in found.layers) == pytest.approx(report.latency)
    assert sum(layer.kernels for layer in found.layers) == len(report.predictions)


# --- pairing, output and errors --------------------------------------------------------------------------------------


def test_several_analyses_are_paired_by_device_and_batch() -> None:
    old = [saved(DENSE, hardware=h, batch=b) for h, b in (("t4", 1), ("t4", 8), ("l4", 1))]
    new = [saved(DENSE, hardware=h, batch=b, model="other") for h, b in (("t4", 8), ("v100", 1), ("t4", 1))]
    found = held_against(old, new)
    assert [(pair.old.batch, pair.new.batch) for pair in found.pairs] == [(1, 1), (8, 8)]
    assert [s.hardware for s in found.only_old] == ["l4"]
    assert [s.hardware for s in found.only_new] == ["v100"]
    assert any("only in the new file: other on v100" in line for line in lines(found))
    with pytest.raises(RooflineError, match="share no device"):
        held_against(old, [saved(DENSE, hardware="h100")] * 2)


def test_text_fits_80_columns_and_hides_control_characters() -> None:
    hostile = replace(DENSE, name="\x1b[31m" + "long.name." * 12, kind="depthwise conv")
    found = held_against([saved(hostile)], [saved(replace(hostile, busy=9e-3), model="=x|<b>`\n")])
    text = list(lines(found))
    assert all(len(line) <= 80 and line.isprintable() for line in text)
    assert "\\|&lt;b>" in found.to_markdown()
    assert "\x1b" not in found.to_markdown()


def test_json_has_every_figure(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "d.json"
    assert run(["diff", str(folder / "t4.json"), str(folder / "v100.json"), "-o", str(out), "-o", str(tmp_path / "d.md")]) == 0
    (pair,) = json.loads(out.read_text())["pairs"]
    moved = pair["figures"]["latency"]["new"] - pair["figures"]["latency"]["old"]
    assert sum(pair["seconds_by_reason"].values()) == pytest.approx(moved)
    assert "| latency |" in (tmp_path / "d.md").read_text()


def test_a_rule_that_is_broken_ends_with_1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(folder / "folded.json"), str(folder / "t4.json")]
    assert run(["diff", *files]) == 0
    assert run(["diff", *files, "--fail-if", "latency>+500%"]) == 0
    capsys.readouterr()
    assert run(["diff", *files, "--fail-if", "latency>+5%"]) == 1
    out = capsys.readouterr().out
    assert "FAIL  latency" in out
    assert "1 of 1 rules violated" in out
    assert run(["diff", *files, "--fail-if", "cost>+5%"]) == 2
    assert "unknown quantity 'cost'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read"),
        ("{", "is no saved analysis"),
        ("[]", "is no saved analysis"),
        ('{"schema": 99}', "has schema 99"),
        ('{"schema": 1, "tool": {"version": "0"}, "analyses": []}', "holds no analysis"),
        ('{"schema": 1, "tool": {"version": "0"}, "analyses": [{}]}', "is no saved analysis"),
        ("\x00\xff", "is no saved analysis"),
    ],
)
def test_a_file_that_is_no_analysis_is_named(text: str | None, message: str, tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "bad.json"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    with pytest.raises(RooflineError, match=message):
        diff(folder / "t4.json", path)
