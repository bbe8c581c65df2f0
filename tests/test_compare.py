"""Comparisons: what is compared with what, differences worked out by hand, each format, saved reports, bad input."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from devices import DRAM, L2, device
from rich.cells import cell_len
from rich.console import Console
from torch import nn

import roofline
from roofline.cli import run
from roofline.errors import RooflineError, UnknownNameError
from roofline.report.comparing import render, to_text
from roofline.report.differences import Differences, change, signed
from roofline.report.subject import AS_IS, METRICS, Subject, read

HAND = device(memory=(DRAM, L2))


@pytest.fixture(autouse=True)
def _pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


def side(model: str = "one", *, latency: float = 10e-3, macs: float = 1e9, spread: float = 0.1, **given: Any) -> Subject:
    """Make a subject of round figures: 10 ms, 1 GMAC, 2 GFLOPs, 100 MB, an interval of 10 % either way."""
    figures: dict[str, Any] = {
        "source": "", "model": model, "what_if": AS_IS, "mode": "eager", "precision": "fp32", "layout": "nchw", "hardware": "hand",
        "batch": 1, "latency_seconds": latency, "low_seconds": latency * (1 - spread), "high_seconds": latency * (1 + spread),
        "lower_bound_seconds": latency / 2, "macs": macs, "flops": 2 * macs, "bytes": 1e8, "params": 1e6, "kernels": 3,
        "peak_memory_bytes": 1e9, "device_memory_bytes": 8e9, "bound": "memory", "seconds_by_bound": {"memory": latency},
        "kinds": {"conv": latency}, "status": "calibrated",
    }  # fmt: skip
    return Subject(**{**figures, **given})


def sentences(*subjects: Subject) -> list[str]:
    """Say what is to be said of subjects that form one group."""
    (group,) = Differences(subjects).groups
    return group.sentences()


# --- what is compared with what ----------------------------------------------------------------------------------------


def test_networks_are_compared_under_each_condition() -> None:
    found = roofline.compare(["resnet18", "resnet34"], [HAND, "t4"], [1, 8])
    assert found.axis == "model"
    assert [group.condition for group in found.groups] == ["hand, batch 1", "hand, batch 8", "t4, batch 1", "t4, batch 8"]
    assert {group.labels for group in found.groups} == {("resnet18", "resnet34")}
    assert found.conditions == "eager, fp32, nchw"


@pytest.mark.parametrize(
    ("options", "axis", "labels"),
    [
        ({"precisions": ["fp32", "fp16"]}, "precision", ("fp32", "fp16")),
        ({"modes": ["eager", "engine"]}, "mode", ("eager", "engine")),
        ({"what_ifs": ["fold-bn"]}, "what_if", ("baseline", "fold-bn")),
        ({"what_ifs": ["fold-bn", "fold-bn+weights=int8"]}, "what_if", ("baseline", "fold-bn", "fold-bn + weights=int8")),
        ({"hardware": ["t4", "v100"]}, "hardware", ("t4", "v100")),
        ({"batches": [1, 8]}, "batch", ("batch 1", "batch 8")),
    ],
)
def test_one_network_is_compared_with_itself(options: dict[str, Any], axis: str, labels: tuple[str, ...]) -> None:
    found = roofline.compare("resnet18", **{"hardware": ["t4"], **options})
    assert found.axis == axis
    (group,) = found.groups
    assert group.labels == labels


def test_figures_are_those_of_the_analysis() -> None:
    report = roofline.analyze("resnet18", "t4", batch=8, precision="fp16", mode="engine", what_if=("weights=int8",))
    found = roofline.compare("resnet18", "t4", 8, precisions="fp16", modes="engine", what_ifs="weights=int8")
    subject = found.subjects[1]
    assert subject == Subject.of(report)
    assert (subject.latency_seconds, subject.macs, subject.bytes) == (report.latency, report.macs, report.bytes)
    assert (subject.throughput_items_per_second, subject.intensity_flop_per_byte) == (report.throughput, report.intensity)
    assert sum(subject.kinds.values()) == pytest.approx(report.latency)
    assert subject.kernels == len(report.predictions)


def test_reports_and_modules_can_be_compared() -> None:
    reports = roofline.analyze_many("resnet18", ["t4"], [1, 2])
    assert [s.batch for s in roofline.compare(reports).subjects] == [1, 2]
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU())
    graph = roofline.trace(net, (1, 3, 8, 8))
    assert [s.model for s in roofline.compare([graph, "resnet18"], HAND).subjects] == ["Sequential", "resnet18"]


def test_subjects_that_share_no_conditions_stand_in_one_group() -> None:
    lone = (side("one", batch=1), side("two", batch=1), side("one", batch=8))
    (group,) = Differences(lone).groups
    assert group.labels == ("one, batch 1", "two, batch 1", "one, batch 8")
    (same,) = Differences((side(), side())).groups
    assert same.labels == ("one (1)", "one (2)")


# --- differences by hand -----------------------------------------------------------------------------------------------


def test_ratios_are_to_the_first() -> None:
    found = Differences((side("one"), side("two", latency=25e-3, macs=4e9, bytes=5e7)))
    first, second = found.rows()
    assert {first[f"{name}_ratio"] for name in METRICS if name != "reached"} == {1.0}
    assert second["latency_ratio"] == pytest.approx(2.5)
    assert second["throughput_ratio"] == pytest.approx(0.4)
    assert second["macs_ratio"] == 4
    assert second["bytes_ratio"] == 0.5
    assert second["intensity_ratio"] == 8
    assert (first["against"], second["against"]) == ("one", "one")


def test_a_figure_that_is_zero_has_no_ratio() -> None:
    first, second = Differences((side("one", macs=0.0), side("two"))).rows()
    assert (first["macs_ratio"], second["macs_ratio"]) == (None, None)


@pytest.mark.parametrize(
    ("ratio", "written"),
    [
        (1.0, "="),
        (1.004, "="),
        (1.21, "+21 %"),
        (0.87, "-13 %"),
        (2.0, "+100 %"),
        (2.37, "x2.4"),
        (0.4, "x0.40"),
        (134.0, "x134"),
        (None, ""),
    ],
)
def test_changes_are_written_as_a_reader_takes_them_in(ratio: float | None, written: str) -> None:
    assert change(ratio) == written


def test_differences_of_time_have_a_sign() -> None:
    assert [signed(s) for s in (2e-3, -5e-6)] == ["+2.00 ms", "-5.00 us"]


def test_the_kinds_that_make_the_difference_are_named() -> None:
    one = side("one", latency=10e-3, kinds={"conv": 2e-3, "batch norm": 5e-3, "pool": 3e-3})
    two = side("two", latency=15e-3, kinds={"conv": 11e-3, "pool": 3.01e-3, "linear": 0.99e-3})
    assert sentences(one, two)[0] == "two takes 1.50 times as long as one (+5.00 ms): conv +9.00 ms, batch norm -5.00 ms, linear +990 us."
    (group,) = Differences((one, two)).groups
    assert [kind for kind, _ in group.kinds()] == ["conv", "batch norm", "linear", "pool"]


def test_what_takes_as_long_is_said_to() -> None:
    assert sentences(side("one"), side("two", latency=10.01e-3))[0] == "two takes as long as one."


def test_fewer_macs_that_are_slower_are_told_in_one_sentence() -> None:
    few = side("few", latency=14e-3, macs=0.4e9, bound="overhead")
    many = side("many", latency=10e-3, macs=4e9)
    expected = (
        "few has 10 times fewer MACs than many and takes 1.40 times as long: "
        "it does 8.0 FLOP per byte, many 80, and it is bound by overhead."
    )
    assert expected in sentences(few, many)
    assert expected in sentences(many, few)


def test_macs_that_rank_as_latency_does_are_said_to() -> None:
    assert "few has 4.0 times fewer MACs than many and takes 0.50 times as long: it does 20 FLOP per byte, many 80." in sentences(
        side("few", latency=5e-3), side("many", macs=4e9)
    )
    three = [side("a", latency=1e-3, macs=1e9), side("b", latency=2e-3, macs=2e9), side("c", latency=3e-3, macs=3e9)]
    assert any(s.endswith("MACs rank all of them as latency does.") for s in sentences(*three))


def test_pairs_that_macs_rank_the_wrong_way_are_counted() -> None:
    three = [side("a", latency=3e-3, macs=1e9), side("b", latency=2e-3, macs=2e9), side("c", latency=4e-3, macs=3e9)]
    (told,) = [s for s in sentences(*three) if "MACs rank" in s]
    assert told.startswith("a has 2.0 times fewer MACs than b and takes 1.50 times as long")
    assert told.endswith("MACs rank 1 of 3 pairs the wrong way round.")


def test_equal_macs_say_nothing_of_time() -> None:
    assert not [s for s in sentences(side(hardware="a"), side(hardware="b", latency=1e-3)) if "MACs" in s]


def test_intervals_that_overlap_are_a_warning_between_networks_and_devices_only() -> None:
    warning = "The 80 % intervals of one and two overlap: measured, they may come out the other way round."
    assert warning in sentences(side("one"), side("two", latency=11e-3))
    assert not [s for s in sentences(side("one"), side("two", latency=13e-3)) if "overlap" in s]
    assert not [s for s in sentences(side(), side(what_if="fold-bn", latency=9.5e-3)) if "overlap" in s]


# --- text --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    names = ["resnet18", "efficientnet_b0", "mobilenetv3_large_100", "vit_tiny_patch16_224", "torchvision:resnet50"]
    text = to_text(roofline.compare(names, "t4", [1, 1024]), width=width)
    assert max(map(cell_len, text.splitlines())) <= width
    assert "\x1b" not in text


def test_every_subject_has_a_column_of_its_figures() -> None:
    found = Differences((side("one"), side("two", latency=25e-3, macs=4e9), side("three", latency=5e-3)))
    lines = str(found).splitlines()
    table = {line.split("  ")[0]: re.split(r"\s{2,}| (?=[x=+-])", line.strip())[1:] for line in lines[2:]}
    assert lines[2].split() == ["one", "two", "three"]
    assert table["latency"] == ["10.0 ms", "25.0 ms", "x2.5", "5.00 ms", "-50 %"]
    assert table["MACs"] == ["1.00 G", "4.00 G", "x4.0", "1.00 G", "="]
    assert [line for line in lines if line != line.rstrip()] == []


def test_a_table_that_does_not_fit_goes_on_below_with_the_first_again() -> None:
    many = Differences(tuple(side(f"network_{i}", latency=(i + 1) * 1e-3) for i in range(7)))
    heads = [line.split() for line in to_text(many, width=80).splitlines() if line.startswith(" ") and "network_" in line]
    assert len(heads) > 1
    assert {head[0] for head in heads} == {"network_0"}
    assert [name for head in heads for name in head[1:]] == [f"network_{i}" for i in range(1, 7)]


def test_colours_come_only_on_a_terminal() -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, color_system="standard", width=80)
    screen.print(render(Differences((side("one"), side("two")))))
    assert "\x1b[" in screen.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def test_what_does_not_fit_or_is_unknown_is_said() -> None:
    text = str(Differences((side("one"), side("two", peak_memory_bytes=9e9, unknown=("odd.op",)))))
    assert "does not fit in device memory: two on hand batch 1 fp32" in text
    assert "unknown ops, counted by their bytes only: odd.op" in text


# --- files -------------------------------------------------------------------------------------------------------------


def test_json_and_csv_hold_every_figure() -> None:
    found = roofline.compare(["resnet18", "resnet34"], ["t4"], [1, 8])
    body = json.loads(found.to_json())
    lines = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert (body["schema"], body["compared"], len(body["groups"]), len(body["subjects"])) == (1, "model", 2, 4)
    for row, line, subject in zip(body["subjects"], lines, (s for g in found.groups for s in g.subjects), strict=True):
        assert row["latency_seconds"] == float(line["latency_seconds"]) == subject.latency_seconds
        assert sum(row["seconds_by_kind"].values()) == pytest.approx(subject.latency_seconds)
        assert float(line["latency_ratio"]) == row["latency_ratio"]
    assert body["groups"][0]["sentences"] == found.groups[0].sentences()
    assert body["groups"][1]["kinds"]["conv"]["resnet34"] == found.groups[1].subjects[1].kinds["conv"]


def test_a_data_frame_has_a_row_for_each_subject() -> None:
    table = Differences((side("one"), side("two", latency=25e-3))).to_pandas()
    assert list(table["latency_ratio"]) == [1.0, 2.5]
    assert (table["kernels"].dtype, table["macs"].dtype, table["bytes"].dtype) == ("int64", "int64", "float64")
    assert table["bound"].dtype == "category"


def test_markdown_is_fit_for_a_pull_request() -> None:
    text = Differences((side("a|b"), side("<b>", latency=25e-3))).to_markdown()
    assert "| latency | 10.0 ms | 25.0 ms (x2.5) |" in text
    assert "a\\|b" in text
    assert "<b>" not in text
    assert text.count("<details>") == text.count("</details>") == 1
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {4}


def test_hostile_names_stay_text_in_every_format() -> None:
    found = Differences((side("=cmd()"), side("\x1b[31m[red]", latency=2e-3)))
    assert "\x1b" not in str(found)
    assert "[red]" in str(found)
    assert [line["model"] for line in csv.DictReader(io.StringIO(found.to_csv()))] == ["'=cmd()", "\x1b[31m[red]"]


def test_saved_reports_are_compared_as_if_made_now(tmp_path: Path) -> None:
    now = roofline.analyze_many("resnet18", ["t4"], [1, 8])
    roofline.analyze("resnet18", "t4").to_json(tmp_path / "old.json")
    (old,) = read(tmp_path / "old.json")
    assert old.source == "old.json"
    live = Subject.of(now[0])
    assert {name: getattr(old, name) for name in Subject.__slots__ if name != "source"} == {
        name: getattr(live, name) for name in Subject.__slots__ if name != "source"
    }
    found = roofline.compare([str(tmp_path / "old.json"), now[0]])
    assert (found.axis, found.groups[0].labels) == ("source", ("old.json", "now"))


def test_a_page_needs_analyses_made_now(tmp_path: Path) -> None:
    roofline.analyze("resnet18", "t4").to_json(tmp_path / "old.json")
    found = roofline.compare([tmp_path / "old.json", "resnet34"], "t4")
    with pytest.raises(RooflineError, match="a page needs every kernel"):
        found.to_html()
    assert "<!doctype html>" in roofline.compare(["resnet18", "resnet34"], "t4").to_html().lower()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no report; compare names of networks, or files that roofline analyze -o FILE.json wrote"),
        ("[1]", "is no report"),
        ('{"analyses": []}', "is no report"),
        ('{"schema": 1, "analyses": []}', "holds no analysis"),
        ('{"schema": 99, "analyses": []}', "has schema 99, not 1; write it again"),
        ('{"schema": 1, "analyses": [{"model": "x"}]}', "is no report"),
        ('{"schema": 1, "measurement": {}}', "is no report"),
    ],
)
def test_a_file_that_is_no_report_is_named(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "odd.json").write_text(text)
    with pytest.raises(RooflineError, match=f"odd.json {re.escape(message)}"):
        read(tmp_path / "odd.json")


# --- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resnet18", "t4"), "nothing to compare; give a second network"),
        (("resnet18",), "no device to run resnet18 on; name one or more"),
        (((), "t4"), "nothing to compare"),
        (("nope.json",), "cannot read 'nope.json': No such file or directory"),
    ],
)
def test_too_little_to_compare_is_said(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(RooflineError, match=re.escape(message)):
        roofline.compare(*arguments)


def test_a_mistake_is_told_before_a_network_is_traced() -> None:
    for options in ({"modes": ["warp"]}, {"what_ifs": ["nope"]}, {"precisions": ["fp12"]}, {"hardware": ["t5"]}):
        with pytest.raises(UnknownNameError):
            roofline.compare(["no_such_network", "nor_this"], **{"hardware": ["t4"], **options})


# --- the command -------------------------------------------------------------------------------------------------------


def test_the_command_prints_what_the_library_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", "resnet18", "resnet34", "--hw", "t4", "-b", "1,8"]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == (str(roofline.compare(["resnet18", "resnet34"], ["t4"], [1, 8])), "")


def test_the_command_takes_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    options = "--hw a100-40gb -b 4 --image-size 128 --in-chans 1 --precision fp16 --mode engine --layout nhwc --what-if weights=int8"
    assert run(["compare", "resnet18", *options.split(), "--uncalibrated", "--json"]) == 0
    expected = roofline.compare(
        "resnet18", "a100-40gb", 4, image_size=128, in_chans=1, precisions="fp16", modes="engine", layout="nhwc", what_ifs="weights=int8",
        calibrated=False,
    )  # fmt: skip
    assert capsys.readouterr().out == expected.to_json()


def test_json_prints_nothing_else_and_files_are_written_by_suffix(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    files = [tmp_path / f"compare{suffix}" for suffix in (".json", ".csv", ".md", ".html")]
    arguments = ["compare", "resnet18", "resnet34", "--hw", "t4", *(part for file in files for part in ("-o", str(file)))]
    assert run([*arguments, "--json"]) == 0
    out, err = capsys.readouterr()
    found = roofline.compare(["resnet18", "resnet34"], "t4")
    assert (out, err) == (found.to_json(), "")
    assert [file.read_text() for file in files[:3]] == [found.to_json(), found.to_csv(), found.to_markdown()]
    assert files[3].read_text().startswith("<!doctype html>")
    assert run(arguments) == 0
    assert capsys.readouterr().out.splitlines()[-4:] == [f"wrote {file}" for file in files]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "b", "--hw", "t4", "-o", "x.pdf"], "cannot write 'x.pdf': unknown suffix '.pdf'; use .html, .json, .csv, .md"),
        (["a.json", "b", "-o", "x.html"], "cannot write 'x.html': a page needs every kernel"),
        (["resnet18", "--hw", "t4"], "nothing to compare"),
        ([], "Missing argument 'MODEL...'; see roofline compare --help"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_file(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["compare", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {message}")
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
