"""A sweep prices every combination once, says why one cannot be priced, and does not depend on how the work was shared out."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import roofline
from roofline.cli import run
from roofline.errors import RooflineError, UnknownNameError
from roofline.studies.sweep.request import Request, ask, expand
from roofline.studies.sweep.result import Sweep
from roofline.studies.sweep.run import sweep
from roofline.studies.sweep.table import COLUMNS
from roofline.tracing import cache

NETWORKS = ("test_resnet", "test_efficientnet")
BROKEN = "def build():\n    raise ValueError('no <b>weights</b>\\nat all')\n"
CRASH = "import os\n\ndef build():\n    os._exit(3)\n"
NET = "import torch\n\ndef build():\n    print('noise')\n    return torch.nn.Conv2d(3, 4, 3)\n"


@pytest.fixture(scope="module")
def small() -> Sweep:
    return sweep(NETWORKS, ["t4", "c5.2xlarge"], batches=(1, 64), precisions=("fp32", "amp"), modes=("eager", "engine"), jobs=1)


def rows(found: Sweep) -> list[dict[str, Any]]:
    return found.table.to_pylist()


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("model", "mode", "layout", "precision", "device", "batch"))


# --- what is in the table -------------------------------------------------------------------------------------------


def test_every_combination_has_one_row_in_the_order_of_the_request(small: Sweep) -> None:
    wanted = [
        (model, mode, "nchw", precision, device, batch)
        for model in NETWORKS
        for mode in ("eager", "engine")
        for precision in ("fp32", "amp")
        for device in ("t4", "c5.2xlarge")
        for batch in (1, 64)
    ]
    assert [key(row) for row in rows(small)] == wanted
    assert tuple(small.table.column_names) == COLUMNS


def test_figures_are_those_of_analyze(small: Sweep) -> None:
    for row in rows(small):
        if row["status"] != "priced":
            continue
        alone = roofline.analyze(row["model"], row["device"], batch=row["batch"], precision=row["precision"], mode=row["mode"])
        assert row["latency_seconds"] == alone.latency
        assert (row["low_seconds"], row["high_seconds"]) == alone.interval
        assert row["throughput_items_per_second"] == pytest.approx(row["batch"] / alone.latency)
        assert (row["lower_bound_seconds"], row["bound"]) == (alone.lower_bound, alone.bound)
        assert (row["macs"], row["flops"]) == (round(alone.macs), round(alone.flops))
        assert (row["bytes"], row["params"]) == (alone.bytes, alone.params)
        assert (row["peak_memory_bytes"], row["fits"], row["unknown_ops"]) == (alone.peak_memory, True, 0)
        assert row["calibration"] == alone.calibration.status
        assert row["compute_share"] + row["memory_share"] + row["overhead_share"] + row["occupancy_share"] == pytest.approx(1)


def test_counts_equal_those_that_pytorch_has(small: Sweep) -> None:
    import timm

    for model in NETWORKS:
        parameters = sum(p.numel() for p in timm.create_model(model).parameters())
        assert {row["params"] for row in rows(small) if row["model"] == model and row["status"] == "priced"} == {parameters}
    assert {row["image_size"] for row in rows(small)} == {160}
    assert {row["family"] for row in rows(small)} == {"resnet", "efficientnet"}


def test_dollars_are_the_price_of_the_instance_for_the_time_of_a_million(small: Sweep) -> None:
    row = next(row for row in rows(small) if row["device"] == "t4" and row["batch"] == 64)
    hours = 1e6 / 64 * row["latency_seconds"] / 3600
    assert row["usd_per_million_items"] == pytest.approx(0.526 * hours)  # g4dn.xlarge


def test_what_a_device_lacks_is_a_row_that_says_so(small: Sweep) -> None:
    refused = [row for row in rows(small) if row["status"] == "unsupported"]
    assert {(row["device"], row["precision"]) for row in refused} == {("c5.2xlarge", "amp")}
    assert len(refused) == 2 * 2 * 2
    assert all("c5.2xlarge has no fp16 or bf16 unit" in row["reason"] and row["latency_seconds"] is None for row in refused)


def test_the_work_can_be_shared_out_in_any_way(small: Sweep) -> None:
    again = sweep(NETWORKS, ["t4", "c5.2xlarge"], batches=(1, 64), precisions=("fp32", "amp"), modes=("eager", "engine"), jobs=2)
    assert again.table.equals(small.table)
    assert again.effort.jobs == 2


def test_layouts_what_ifs_and_image_sizes_are_columns() -> None:
    found = sweep(
        "test_resnet", "t4", precisions="amp", layouts=("nchw", "nhwc"), what_if=("fold-bn",), image_size=96, jobs=1, calibrated=False
    )
    assert [(row["layout"], row["what_if"], row["image_size"], row["calibration"]) for row in rows(found)] == [
        ("nchw", "fold-bn", 96, "uncalibrated"),
        ("nhwc", "fold-bn", 96, "uncalibrated"),
    ]


def test_a_network_fixed_at_one_batch_says_so_for_the_others(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "fixed.pt2"
    torch.export.save(torch.export.export(torch.nn.Conv2d(3, 8, 3).eval(), (torch.zeros(2, 3, 32, 32),)), path)
    found = sweep(str(path), ["t4", "v100"], batches=(1, 2), jobs=1)
    assert [(row["device"], row["batch"], row["status"]) for row in rows(found)] == [
        ("t4", 1, "unsupported"), ("t4", 2, "priced"), ("v100", 1, "unsupported"), ("v100", 2, "priced"),
    ]  # fmt: skip
    assert "fixed at batch 2" in rows(found)[0]["reason"]


# --- failures -------------------------------------------------------------------------------------------------------


def test_a_network_that_fails_or_kills_its_process_does_not_end_the_sweep(tmp_path: Path) -> None:
    for name, code in (("broken", BROKEN), ("crash", CRASH), ("net", NET)):
        (tmp_path / f"{name}.py").write_text(code)
    models = [f"{tmp_path}/broken.py:build", f"{tmp_path}/crash.py:build", f"{tmp_path}/net.py:build", *NETWORKS]
    found = sweep(models, "t4", batches=(1, 8), jobs=2)
    assert [row["model"] for row in rows(found)] == [model for model in models for _ in range(2)]
    assert found.counts == {"priced": 6, "failed": 4}
    assert found.failures[models[0]].endswith("ValueError: no <b>weights</b>")
    assert "process died" in found.failures[models[1]]
    assert any(line.startswith("failed: ") for line in found.lines())


def test_unknown_names_are_refused_before_anything_is_traced() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean .*resnet50"):
        expand(["resnet18", "resnt50"])
    with pytest.raises(UnknownNameError, match="no model matches 'zzz\\*'"):
        expand("zzz*")
    with pytest.raises(RooflineError, match="no network"):
        expand([])
    with pytest.raises(RooflineError, match="has no name"):
        expand([""])


def test_patterns_name_each_network_once() -> None:
    found = expand(["test_resnet", "test_*net"])
    assert len(set(found)) == len(found) > 3
    assert found[0] == "test_resnet"
    assert all(name.startswith("test_") for name in found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hardware": "t5"}, "unknown hardware"),
        ({"batches": (0,)}, "bad batch size"),
        ({"batches": ()}, "nothing to sweep"),
        ({"precisions": "fp99"}, "unknown precision"),
        ({"modes": "fast"}, "unknown mode"),
        ({"layouts": "hwcn"}, "unknown layout"),
        ({"what_if": "magic"}, "unknown what-if"),
    ],
)
def test_what_no_network_could_be_priced_with_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RooflineError, match=message):
        ask(**{"hardware": "t4", **options})


@pytest.mark.parametrize("jobs", [0, -1, True, 2.5])
def test_a_bad_number_of_processes_is_refused(jobs: Any) -> None:
    with pytest.raises(RooflineError, match="bad number of processes"):
        sweep("test_resnet", "t4", jobs=jobs)


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "joblib", None)
    with pytest.raises(RooflineError, match=r"pip install 'roofline\[sweep\]'"):
        sweep("test_resnet", "t4")


# --- what is kept on the way ----------------------------------------------------------------------------------------


def test_the_key_changes_with_everything_that_changes_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def digest(**options: Any) -> str:
        return ask(**{"hardware": "t4", **options}).digest

    asked = [{}, {"hardware": "v100"}, {"batches": 2}, {"precisions": "fp16"}, {"modes": "engine"}, {"layouts": "nhwc"},
             {"what_if": "fold-bn"}, {"image_size": 96}, {"calibrated": False}]  # fmt: skip
    found = [digest(**options) for options in asked]
    assert len(set(found)) == len(found)
    assert digest() == found[0]
    monkeypatch.setattr(roofline, "__version__", "9.9")
    assert digest() != found[0]


def test_code_of_the_users_own_is_never_kept() -> None:
    request: Request = ask("t4")
    assert request.key("net.py:build") is None
    assert request.key("resnet18") != request.key("resnet34")


def test_nothing_is_left_behind_by_a_sweep_that_ended(small: Sweep) -> None:
    assert len(small) == 32
    home = cache.folder() / "sweeps"
    assert not list(home.iterdir())


def test_a_sweep_whose_file_cannot_be_written_keeps_what_it_priced() -> None:
    def refuse(_: Sweep) -> None:
        raise RooflineError("no room")

    with pytest.raises(RooflineError, match="no room"):
        sweep(NETWORKS, "l4", jobs=1, finish=refuse)
    again = sweep(NETWORKS, "l4", jobs=1)
    assert (again.effort.networks, again.effort.kept) == (0, 2)
    assert again.counts == {"priced": 2}


def test_a_part_that_is_cut_off_or_of_another_form_is_priced_again() -> None:
    def spoil(_: Sweep) -> None:
        parts = sorted((cache.folder() / "sweeps").rglob("*.arrow"))
        assert len(parts) == 2
        parts[0].write_bytes(parts[0].read_bytes()[:100])
        parts[1].write_bytes(b"nonsense")
        raise RooflineError("stop")

    with pytest.raises(RooflineError, match="stop"):
        sweep(NETWORKS, "a10g", jobs=1, finish=spoil)
    assert sweep(NETWORKS, "a10g", jobs=1).effort.networks == 2


def test_the_same_sweep_cannot_run_twice_at_once() -> None:
    def nested(_: Sweep) -> None:
        sweep("test_resnet", "h100", jobs=1)

    with pytest.raises(RooflineError, match="running in another process"):
        sweep("test_resnet", "h100", jobs=1, finish=nested)


# --- files and the command ------------------------------------------------------------------------------------------


def test_each_format_holds_the_same_rows(small: Sweep, tmp_path: Path) -> None:
    for suffix in ("parquet", "csv", "jsonl"):
        small.save(tmp_path / f"s.{suffix}")
    assert pq.read_table(tmp_path / "s.parquet").to_pylist() == rows(small)
    assert [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()] == rows(small)
    with (tmp_path / "s.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["latency_seconds"] for line in lines] == [str(row["latency_seconds"] or "") for row in rows(small)]
    before = (tmp_path / "s.parquet").read_bytes()
    small.save(tmp_path / "s.parquet")
    assert (tmp_path / "s.parquet").read_bytes() == before


def test_pandas_gets_categories_and_nullable_counts(small: Sweep) -> None:
    frame = small.to_pandas()
    assert len(frame) == 32
    assert str(frame["device"].dtype) == "category"
    assert str(frame["params"].dtype) == "Int64"
    assert frame[frame["status"] == "priced"]["fits"].all()
    assert frame["latency_seconds"].isna().sum() == 8


def test_a_name_that_a_spreadsheet_would_run_is_defused_in_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("=cmd.py").write_text(NET)
    found = sweep("=cmd.py:build", "t4", jobs=1)
    found.save(tmp_path / "s.csv")
    assert "\n'=cmd.py:build,"[1:] in (tmp_path / "s.csv").read_text()


def test_the_command_writes_files_and_tells_in_80_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "s.parquet"
    assert run(["sweep", "--models", "test_resnet,test_vit", "--hw", "t4,v100", "-b", "1,8", "-j", "1", "-o", str(out)]) == 0
    text = capsys.readouterr().out
    assert "8 rows: 8 priced" in text
    assert f"wrote {out}" in text
    assert all(len(line) <= 80 for line in text.splitlines() if not line.startswith("wrote"))
    assert pq.read_table(out).num_rows == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "x.txt"], "unknown suffix"),
        (["-o", "/no/such/folder/x.csv"], "cannot write '/no/such/folder/x.csv'"),
        (["--dask", "tcp://127.0.0.1:1"], "cannot reach a Dask scheduler"),
        (["--hw", "t4", "--precision", "fp1"], "unknown precision"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roofline.studies.sweep.workers.CONNECT", 0.2)
    assert run(["sweep", "--models", "test_resnet", "--hw", "t4", *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_a_sweep_in_which_nothing_could_be_priced_ends_with_1(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    assert run(["sweep", "--models", f"{tmp_path}/broken.py:build", "--hw", "t4", "-j", "1"]) == 1
