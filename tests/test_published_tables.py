"""Published timings: the bundled table is whole and names what exists, fits are kept off some rows, and broken tables are refused."""

import csv
import tomllib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from roofline.costmodel.hardware import names
from roofline.errors import RooflineError
from roofline.measurement.published import EXCLUSIONS, Published, families, read, sample, select

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "benchmarks" / "published"
HEADER = "dataset,device,model,family,mode,precision,layout,batch,image_size,latency_ms,what_if,source,note"
LINE = "mine,t4,resnet50,resnet,eager,fp32,nhwc,8,224,40.5,,me,warm"


def row(**changes: object) -> Published:
    made = Published("mine", "t4", "resnet50", "resnet", "eager", "fp32", "nchw", 8, 224, 0.04, "me", "")
    return replace(made, **changes)  # type: ignore[arg-type]


def table(folder: Path, *lines: str, header: str = HEADER) -> Path:
    path = folder / "table.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


# --- the bundled table -----------------------------------------------------------------------------------------------


def test_the_bundled_table_holds_every_row_with_a_source_and_a_time() -> None:
    rows = read()
    with (FOLDER / "networks.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(rows) == len(lines) == 5838
    assert sum(r.seconds for r in rows) == pytest.approx(sum(float(line["latency_ms"]) for line in lines) / 1000)
    assert all(r.source and r.family and r.seconds > 0 for r in rows)
    assert {r.layout for r in rows} == {"nchw", "nhwc"}


def test_every_device_of_the_table_has_a_profile() -> None:
    assert {r.device for r in read()} <= set(names())


def test_the_page_beside_the_tables_counts_their_rows() -> None:
    page = (FOLDER / "README.md").read_text()
    rows = read()
    assert f"{len(rows):,} timings of {len({r.model for r in rows})} networks" in page
    for path in FOLDER.glob("ops_*.csv"):
        with path.open(newline="") as file:
            assert f"`{path.name}` | {sum(1 for _ in csv.DictReader(file)):,} |" in page
    counts = Counter(r.dataset for r in rows)
    for name in (
        "timm-i9-10940x-compiled",
        "paddleclas-t4-engine",
        "supergradients-t4-engine",
        "automl-v100-engine",
        "mxnet-c5-engine",
        "kecam-t4-engine",
        "ultralytics-a100-engine",
        "ultralytics-t4-engine",
    ):
        assert f"| `{name}` | {counts[name]} |" in page


def test_the_wheel_and_the_source_archive_carry_the_table() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    source = "benchmarks/published/networks.csv"
    assert build["wheel"]["force-include"][source] == "roofline/_published/networks.csv"
    assert source in build["sdist"]["include"]
    assert (ROOT / source).is_file()


def test_what_is_kept_aside_is_in_no_table_that_fits_read() -> None:
    aside = read(FOLDER / "unseen.csv")
    known = {(r.device, r.model, r.mode, r.image_size) for r in read()}
    assert {r.device for r in aside} == {"a100-80gb", "v100"} <= set(names())
    assert known.isdisjoint((r.device, r.model, r.mode, r.image_size) for r in aside)
    assert len(aside) == 6


def test_families_come_from_the_table() -> None:
    assert families()["efficientnet_b0"] == "efficientnet"
    assert "no_such_network" not in families()


# --- rows that fits may not see --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dataset", "model", "note", "says"),
    [
        ("timm-rtx4090-eager-nchw", "mobileone_s0", "", "merged"),
        ("timm-rtx4090-compiled", "repvgg_b0", "", "merged"),
        ("timm-rtx4090-compiled", "repghostnet_100", "", "merged"),
        ("timm-rtx4090-eager-nchw", "fastvit_t8", "", "merged"),
        ("timm-rtx4090-eager-nchw", "repvit_m1", "", "merged"),
        ("timm-rtx4090-eager-nchw", "efficientvit_m5", "", "merged"),
        ("timm-rtx4090-eager-nchw", "efficientvit_b0", "", ""),
        ("timm-rtx4090-eager-nchw", "resnet50", "", ""),
        ("timm-rtx4090-eager-nhwc", "mobileone_s0", "", ""),
        ("timm-rtx3090-eager-nchw", "mobileone_s0", "", ""),
        ("supergradients-t4-engine", "resnet50", "production latency, including IO; line 24", "copies"),
        ("supergradients-t4-engine", "resnet50", "HW latency, not including IO; line 24", ""),
        ("paddleclas-t4-engine", "resnet50", "", "low trust"),
        ("paddleclas-v100-engine", "resnet50", "", ""),
        ("paddleclas-v100-engine", "resnest50d", "", "say of a T4"),
        ("kecam-t4-engine", "resnest50d", "", ""),
        ("kecam-t4-engine", "convnextv2_atto", "", "spelled out"),
        ("kecam-t4-engine", "edgenext_small", "", "spelled out"),
        ("timm-rtx3090-eager-nchw", "convnext_tiny", "", ""),
    ],
)
def test_what_times_something_else_is_left_out_of_fits(dataset: str, model: str, note: str, says: str) -> None:
    reason = row(dataset=dataset, model=model, note=note).excluded
    assert says in reason
    assert bool(reason) is bool(says)


def test_each_rule_leaves_out_rows_of_the_table_and_few_of_them() -> None:
    counts = Counter(r.excluded for r in read())
    assert set(counts) == {"", *(rule.reason for rule in EXCLUSIONS)}
    assert [counts[rule.reason] for rule in EXCLUSIONS][1:] == [7, 6, 3, 25, 154]
    assert counts[""] > 0.95 * len(read())


def test_a_v100_is_slower_than_a_t4_in_what_is_left_out_of_it_alone() -> None:
    """The same pages time both cards with fp32 engines; excluded rows are read, but by no fit."""
    times = {(r.dataset, r.precision, r.model, r.batch): r.seconds for r in read()}
    found: dict[str, list[float]] = {}
    for (dataset, precision, model, batch), seconds in times.items():
        other = times.get(("paddleclas-t4-engine", precision, model, batch))
        if dataset == "paddleclas-v100-engine" and other:
            found.setdefault(model, []).append(seconds / other)
    assert len(found) > 20
    assert {model for model, ratios in found.items() if min(ratios) > 1} == {"resnest50d"}


def test_networks_left_out_gain_from_one_layout_what_no_others_do() -> None:
    """Where branches were merged in nchw and not in nhwc, nchw gains far more from the newer card than nhwc does."""
    times = {(r.dataset, r.model, r.image_size): r.seconds / r.batch for r in read()}
    left_out = {(r.model, r.image_size) for r in read() if r.excluded == EXCLUSIONS[0].reason and r.dataset == "timm-rtx4090-eager-nchw"}
    gains: dict[tuple[str, int], float] = {}
    for (dataset, *key), nchw in times.items():
        others = [times.get((name, *key)) for name in ("timm-rtx4090-eager-nhwc", "timm-rtx3090-eager-nhwc", "timm-rtx3090-eager-nchw")]
        if dataset == "timm-rtx4090-eager-nchw" and all(others):
            new_nhwc, old_nhwc, old_nchw = others
            gains[key[0], key[1]] = (new_nhwc / nchw) / (old_nhwc / old_nchw)  # type: ignore[operator]
    assert min(gain for key, gain in gains.items() if key in left_out) > 1.3
    assert sum(gain > 1.3 for key, gain in gains.items() if key not in left_out) <= 2


def test_a_network_left_out_takes_the_time_of_one_with_half_the_layers() -> None:
    times = {(r.dataset, r.model, r.image_size): r.seconds for r in read()}
    pairs = [
        (seconds, times[dataset, "seresnext26t_32x4d", size])
        for (dataset, name, size), seconds in times.items()
        if name == "ecaresnext50t_32x4d"
    ]
    assert len(pairs) == 6
    for seconds, half in pairs:
        assert 0.85 * half < seconds < 1.02 * half


@pytest.mark.parametrize(
    ("dataset", "replayed"),
    [("kecam-t4-engine", True), ("automl-v100-engine", True), ("paddleclas-v100-engine", False), ("ultralytics-t4-engine", False)],
)
def test_the_table_says_who_replayed_a_captured_graph(dataset: str, replayed: bool) -> None:
    assert {r.what_if for r in read() if r.dataset == dataset} == {"cuda-graphs" if replayed else ""}


# --- choosing rows ---------------------------------------------------------------------------------------------------


def test_filters_are_shell_patterns_in_any_case_and_all_must_match() -> None:
    rows = read()
    found = select(rows, datasets="NVIDIA-*", devices=["t4", "a100"], models="*ResNeXt*", precisions=("fp32",), modes=())
    assert {(r.dataset, r.device, r.precision) for r in found} == {("nvidia-t4-eager", "t4", "fp32")}
    assert {r.model for r in found} == {"resnext101_32x4d", "seresnext101_32x4d"}
    assert select(rows) == rows


@pytest.mark.parametrize(
    ("patterns", "says"),
    [
        ({"devices": "t5"}, r"no published timing has device t5; known: .*t4, v100$"),
        ({"models": "efficentnet_b0"}, r"no published timing has model efficentnet_b0; did you mean .*efficientnet_b0.*\? there are 814"),
        ({"models": "???"}, r"no published timing has model \?\?\?; use a pattern such as 'resnet\*'; there are 814"),
        ({"datasets": "nvidia-t4-eager", "devices": "v100"}, "matches all of: dataset nvidia-t4-eager; device v100; drop one"),
        ({"colours": "red"}, "cannot filter by 'colours'; use datasets, devices, models, modes, precisions"),
    ],
)
def test_filters_that_leave_nothing_say_what_there_is(patterns: dict[str, str], says: str) -> None:
    with pytest.raises(RooflineError, match=says) as caught:
        select(read(), **patterns)
    assert len(str(caught.value)) < 600


def test_a_sample_takes_so_many_networks_of_each_data_set_and_always_the_same() -> None:
    rows = [row(dataset=d, model=m, batch=b) for d in "ab" for m in ("r18", "r34", "r50") for b in (1, 2)]
    found = sample(rows, 2)
    assert found == sample(reversed(rows), 2)[::-1]
    assert [len({r.model for r in found if r.dataset == d}) for d in "ab"] == [2, 2]
    assert len(found) == 8
    assert sample(rows, 99) == tuple(rows)
    with pytest.raises(RooflineError, match="bad sample of 0 networks; use 1 or more"):
        sample(rows, 0)


# --- tables of the user ----------------------------------------------------------------------------------------------


def test_a_table_of_the_user_is_read_in_seconds(tmp_path: Path) -> None:
    assert read(table(tmp_path, LINE)) == (
        Published("mine", "t4", "resnet50", "resnet", "eager", "fp32", "nhwc", 8, 224, 40.5e-3, "me", "warm"),
    )


def test_optional_columns_may_be_missing_and_others_may_be_there(tmp_path: Path) -> None:
    header = "\ufeffmore,dataset,device,model,mode,precision,batch,image_size,latency_ms"
    (found,) = read(table(tmp_path, "x,mine,t4,resnet50,eager,fp32,8,224,40", header=header))
    assert found == row(family="", source="")
    assert read(table(tmp_path)) == ()


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("latency_ms", "0", "use milliseconds above 0"),
        ("latency_ms", "-1", "use milliseconds above 0"),
        ("latency_ms", "nan", "use milliseconds above 0"),
        ("latency_ms", "inf", "use milliseconds above 0"),
        ("latency_ms", "fast", "use milliseconds above 0"),
        ("latency_ms", "", "use milliseconds above 0"),
        ("batch", "0", "use a whole number from 1 to"),
        ("batch", "1.5", "use a whole number from 1 to"),
        ("batch", "9" * 5000, "use a whole number from 1 to"),
        ("image_size", "²", "use a whole number from 1 to"),
        ("mode", "fast", "use one of eager, compiled, engine, ideal"),
        ("precision", "fp31", "use one of fp32, tf32, amp"),
        ("layout", "chwn", "use one of nchw, nhwc"),
        ("what_if", "cuda-graph", "unknown what-if 'cuda-graph'; did you mean cuda-graphs"),
        ("model", " ", "give one"),
        ("device", "", "give one"),
    ],
)
def test_a_bad_value_is_refused_with_its_line_and_column(tmp_path: Path, column: str, value: str, says: str) -> None:
    cells = dict(zip(HEADER.split(","), LINE.split(","), strict=True)) | {column: value}
    path = table(tmp_path, LINE, ",".join(cells.values()))
    with pytest.raises(RooflineError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}, line 3, column {column}: bad value ")
    assert says in message
    assert "\n" not in message
    assert len(message) < 600


@pytest.mark.parametrize("column", ["dataset", "device", "model", "mode", "precision", "batch", "image_size", "latency_ms"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    kept = [name for name in HEADER.split(",") if name != column]
    with pytest.raises(RooflineError, match=rf"table.csv, line 1: no column '{column}'; a table of timings has dataset, device"):
        read(table(tmp_path, header=",".join(kept)))


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "no column 'dataset'"), (b"\xff\xfe\x00d", "it is no UTF-8 text"), (HEADER.encode() + b"\n" + b"x" * 200_000, "field limit")],
)
def test_what_is_no_table_is_refused_in_one_line(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(RooflineError, match=says) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["nowhere.csv", ".", "with\0nul"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(RooflineError, match="cannot read the table"):
        read(tmp_path / name)


def test_a_short_line_is_refused_by_its_first_empty_column(tmp_path: Path) -> None:
    with pytest.raises(RooflineError, match="line 2, column mode: bad value ''"):
        read(table(tmp_path, "mine,t4,resnet50"))
