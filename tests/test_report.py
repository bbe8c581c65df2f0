"""Reports: golden texts whose columns are added up again, each file format, and names that try to break out of them."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from devices import DRAM, L2, device
from rich.cells import cell_len
from rich.console import Console
from torch import nn

import roofline
from roofline import units
from roofline.costmodel.calibration import Calibration
from roofline.errors import RooflineError
from roofline.files import save
from roofline.report.export import to_csv, to_json, to_markdown
from roofline.report.html import to_compare_html, to_html
from roofline.report.report import Report
from roofline.report.text import SORTS, render, shorten, to_text
from roofline.report.writers import writer_for

GOLDEN = Path(__file__).parent / "golden"
HAND = device(memory=(DRAM, L2))
FITTED = Calibration(
    "eager", memory={"batch norm": 0.9}, per_kernel=(0.25, 3.0), devices=("hand",), precisions=("fp32",), samples=12, data="a table"
)


def b0(**options: object) -> Report:
    """Analyze EfficientNet-B0 on the hand-made device, at its ceilings, so that no fit moves the figures."""
    return roofline.analyze("efficientnet_b0", HAND, **{"calibrated": False, **options})  # pyright: ignore[reportArgumentType]


def many() -> tuple[Report, ...]:
    """Analyze it in half precision too, at two batch sizes."""
    return roofline.analyze_many("efficientnet_b0", [HAND], [1, 64], precisions=["fp32", "fp16"], calibrated=False)


TEXTS: dict[str, Callable[[], str]] = {
    "efficientnet_b0-t4.txt": lambda: str(roofline.analyze("efficientnet_b0", "t4", calibrated=False)),
    "efficientnet_b0-hand.txt": lambda: to_text([b0(batch=16)]),
    "efficientnet_b0-hand-engine.txt": lambda: to_text(
        [b0(batch=16, precision="fp16", mode="engine", what_if=("weights=int8",))], top=5, depth=2
    ),
    "vit-hand-compiled.txt": lambda: to_text(
        [roofline.analyze("vit_tiny_patch16_224", HAND, batch=4, mode="compiled", calibrated=False)], sort="order"
    ),
    "efficientnet_b0-hand-comparison.txt": lambda: to_text(many()),
    "efficientnet_b0-hand.md": lambda: b0(batch=16).to_markdown(),
}


# --- golden texts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TEXTS)
def test_a_report_prints_what_it_printed_before(name: str, request: pytest.FixtureRequest) -> None:
    text = TEXTS[name]()
    if request.config.getoption("--update-golden"):
        GOLDEN.mkdir(exist_ok=True)
        (GOLDEN / name).write_text(text)
    assert text == (GOLDEN / name).read_text(), "if the change is meant: pytest tests/test_report.py --update-golden"


def test_every_golden_file_belongs_to_a_report() -> None:
    assert {path.name for path in GOLDEN.iterdir() if path.suffix != ".json"} == set(TEXTS)


def table(text: str, title: str) -> Iterator[dict[str, str]]:
    """Read the rows of the table under *title*: names and figures stand two blanks apart, times and prefixes one."""
    lines = text[text.index(title) :].splitlines()[1:]
    header = re.split(r"\s{2,}", lines[0].strip())
    for line in lines[1 : lines.index("")] if "" in lines else lines[1:]:
        yield dict(zip(header, re.split(r"\s{2,}", line.strip()), strict=True))


def total(rows: list[dict[str, str]], column: str) -> float:
    """Add up a printed column, in base units."""
    return sum(units.parse(row[column].removesuffix("%").strip()) for row in rows)


def printed(text: str, pattern: str) -> float:
    """Read one printed quantity."""
    found = re.search(pattern, text)
    assert found, f"{pattern} is not printed"
    return units.parse(found[1])


@pytest.mark.parametrize("name", [name for name in TEXTS if name.endswith(".txt") and "comparison" not in name])
def test_the_printed_kinds_of_op_add_up_to_the_printed_totals(name: str) -> None:
    text = (GOLDEN / name).read_text()
    rows = list(table(text, "time by kind of op"))
    assert total(rows, "time") == pytest.approx(printed(text, r"latency +([\d.]+ \w+)"), rel=5e-3)
    assert total(rows, "share") == pytest.approx(100, abs=0.5 * len(rows))
    assert total(rows, "n") == printed(text, r"by (\d+) kernels")
    assert total(rows, "MACs") == pytest.approx(printed(text, r"([\d.]+ \w?MACs)"), rel=5e-3)
    assert total(rows, "MB") * 1e6 == pytest.approx(printed(text, r"traffic +([\d.]+ \w?B)"), rel=5e-3)


@pytest.mark.parametrize("name", [name for name in TEXTS if name.endswith(".txt") and "comparison" not in name])
def test_the_printed_shares_of_the_bounds_add_up_to_all_of_the_time(name: str) -> None:
    line = next(line for line in (GOLDEN / name).read_text().splitlines() if line.startswith("bound by"))
    shares = re.findall(r"(compute|memory|overhead|occupancy) ([\d.]+) %", line)
    assert len(shares) == 4
    assert sum(float(share) for _, share in shares) == pytest.approx(100, abs=1.5)


def test_all_printed_layers_add_up_to_the_printed_latency() -> None:
    text = to_text([b0(batch=16)], top=1000)
    rows = list(table(text, "slowest layers"))
    assert total(rows, "time") == pytest.approx(printed(text, r"latency +([\d.]+ \w+)"), rel=5e-3)
    assert printed(text, r"slowest layers: (\d+)") == len(rows) == 238


def test_the_comparison_prints_the_figures_of_each_report() -> None:
    rows = list(table((GOLDEN / "efficientnet_b0-hand-comparison.txt").read_text().replace("\n\n", "\n", 1), "efficientnet_b0"))
    assert [(row["batch"], row["precision"]) for row in rows] == [("1", "fp32"), ("64", "fp32"), ("1", "fp16"), ("64", "fp16")]
    for row, report in zip(rows, many(), strict=True):
        assert units.parse(row["latency"]) == pytest.approx(report.latency, rel=5e-3)
        assert units.parse(row["limit"]) == pytest.approx(report.lower_bound, rel=5e-3)
        assert float(row["items/s"]) == pytest.approx(report.throughput, rel=5e-3)
        assert row["bound"] == report.bound


# --- the terminal ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [60, 80, 132])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    deep = nn.Sequential()
    for i in range(3):
        deep.add_module(f"a_module_with_quite_a_long_name_{i}" * 3, nn.Sequential(nn.Conv2d(3, 3, 1)))
    wide = roofline.analyze(deep, "rtx-pro-6000-maxq", example_inputs=(1, 3, 8, 8))
    for text in (to_text([wide], width=width), to_text([b0()], width=width), to_text(many(), width=width)):
        assert max(map(cell_len, text.splitlines())) <= width


def test_a_comparison_that_does_not_fit_drops_columns_rather_than_digits() -> None:
    reports = roofline.analyze_many("efficientnet_b0", ["rtx-pro-6000-maxq", "a100-80gb"], [1, 1024], precisions=["fp16", "bf16"])
    text = to_text(reports, width=80)
    assert "…" not in text
    assert "reached" not in text
    assert "rtx-pro-6000-maxq   1024  bf16" in text
    assert "reached" in to_text(reports, width=120)


def test_lines_have_no_trailing_blanks() -> None:
    for text in (to_text([b0()]), to_text(many())):
        assert [line for line in text.splitlines() if line != line.rstrip()] == []


@pytest.mark.parametrize(
    ("name", "width", "short"),
    [
        ("conv", 10, "conv"),
        ("0123456789", 10, "0123456789"),
        ("blocks.0.conv_dw", 10, "blo…onv_dw"),
        ("features.12.block.5", 12, "feat…block.5"),
    ],
)
def test_a_long_name_loses_its_middle(name: str, width: int, short: str) -> None:
    assert shorten(name, width) == short
    assert len(short) <= width


def test_colours_come_only_on_a_terminal() -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, color_system="standard", width=80)
    screen.print(render([b0()]))
    assert "\x1b[" in screen.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert "\x1b" not in to_text([b0()])


@pytest.mark.parametrize("sort", SORTS)
def test_layers_are_sorted_as_asked(sort: str) -> None:
    report = b0(batch=64)
    names = [row["layer"] for row in table(to_text([report], sort=sort, top=4, width=200), ": 4 of 238")]
    rows = {row.name: row for row in report.by_layer()}
    everything = list(rows)
    expected = {
        "time": [rows[n].seconds for n in names] == sorted((r.seconds for r in rows.values()), reverse=True)[:4],
        "order": names == everything[:4],
        "flops": [rows[n].cost.flops for n in names] == sorted((r.cost.flops for r in rows.values()), reverse=True)[:4],
        "bytes": [rows[n].cost.bytes for n in names] == sorted((r.cost.bytes for r in rows.values()), reverse=True)[:4],
        "name": names == sorted(everything)[:4],
    }
    assert expected[sort]


def test_an_unknown_sort_is_refused() -> None:
    with pytest.raises(RooflineError, match="unknown sort 'size'; use one of time, order, flops, bytes, name"):
        to_text([b0()], sort="size")


def test_top_0_lists_no_layer() -> None:
    text = to_text([b0(batch=16)], top=0)
    assert "slowest layers: 0 of 238" in text
    assert "blocks." not in text


def test_what_does_not_fit_in_memory_is_said_everywhere() -> None:
    large, fitting = roofline.analyze_many("efficientnet_b0", [HAND], [1024, 1])
    assert "DOES NOT FIT" in str(large)
    assert "Does not fit" in large.to_html()
    assert "does not fit in device memory: hand batch 1024 fp32" in to_text([large, fitting])
    assert "NOT FIT" not in str(fitting)


def test_uncalibrated_figures_are_said_to_be_so() -> None:
    assert "uncalibrated: from sourced ceilings" in str(b0())
    assert "uncalibrated: from sourced ceilings" in b0().to_html()
    assert json.loads(b0().to_json())["analyses"][0]["calibration"]["status"] == "uncalibrated"


def test_a_device_that_was_timed_says_what_was_fitted_and_one_that_was_not_whose_figures_it_uses() -> None:
    timed = roofline.analyze("efficientnet_b0", "t4")
    assert re.search(r"calibrated: fitted to \d+ timings of this device \(nvidia-t4-eager; fp32\)", str(timed).replace("\n", " "))
    assert json.loads(timed.to_json())["analyses"][0]["calibration"]["status"] == "calibrated"
    borrowed = str(roofline.analyze("efficientnet_b0", "rtx5090")).replace("\n", " ")
    assert "borrowed: never timed in this way here; parameters of rtx4090, " in borrowed


def test_where_parameters_come_from_is_the_same_in_every_format() -> None:
    report = roofline.analyze("efficientnet_b0", replace(HAND, calibrations=(FITTED,)))
    sentence = "calibrated: fitted to 12 timings of this device (a table; fp32)"
    assert sentence in str(report).replace("\n", " ")
    assert sentence in report.to_html()
    assert json.loads(report.to_json())["analyses"][0]["calibration"] == {"status": "calibrated", "provenance": sentence}


def test_a_comparison_names_the_devices_that_share_a_word() -> None:
    fitted = [replace(HAND, id=name, calibrations=(replace(FITTED, devices=(name,)),)) for name in ("one", "two")]
    strange = replace(HAND, id="new", kind="cpu", calibrations=(replace(FITTED, samples=0),))
    text = to_text(roofline.analyze_many("efficientnet_b0", [*fitted, strange], [1, 64]))
    assert [line for line in text.splitlines() if "calibrated:" in line or "borrowed:" in line] == ["calibrated: one, two", "borrowed: new"]


def test_the_range_of_a_kernel_is_the_spread_of_single_kernels() -> None:
    rows = roofline.analyze("efficientnet_b0", replace(HAND, calibrations=(FITTED,))).rows()
    assert [row["low_seconds"] for row in rows] == pytest.approx([0.25 * row["seconds"] for row in rows])
    assert [row["high_seconds"] for row in rows] == pytest.approx([3 * row["seconds"] for row in rows])


# --- JSON and CSV ------------------------------------------------------------------------------------------------------


def refuse(constant: str) -> float:
    """Refuse NaN and infinities, which are no JSON."""
    raise ValueError(constant)


def test_json_is_strict_and_holds_the_figures_of_the_report() -> None:
    report = b0(batch=4)
    body = json.loads(report.to_json(), parse_constant=refuse)
    (analysis,) = body["analyses"]
    assert (body["schema"], body["tool"]) == (1, {"name": "roofline", "version": roofline.__version__})
    assert (analysis["model"], analysis["hardware"], analysis["batch"], analysis["mode"]) == ("efficientnet_b0", "hand", 4, "eager")
    assert analysis["latency_seconds"] == report.latency
    assert analysis["kernels"] == report.rows()
    assert analysis["interval_80_seconds"] == list(report.interval)


def test_json_adds_up() -> None:
    (analysis,) = json.loads(b0(batch=4).to_json())["analyses"]
    for part in ("kernels", "layers", "by_kind"):
        assert sum(row["seconds"] for row in analysis[part]) == pytest.approx(analysis["latency_seconds"])
        assert sum(row["macs"] for row in analysis[part]) == analysis["macs"]
    assert sum(row["limit_seconds"] for row in analysis["layers"]) == pytest.approx(analysis["lower_bound_seconds"])
    assert sum(analysis["seconds_by_bound"].values()) == pytest.approx(analysis["latency_seconds"])


def test_json_keys_of_numbers_name_their_units() -> None:
    (analysis,) = json.loads(b0().to_json())["analyses"]
    numbers = {key for key, value in analysis.items() if isinstance(value, float)}
    assert {key for key in numbers if not key.endswith(("seconds", "second", "macs", "flops", "bytes", "byte"))} == set()


def test_the_same_question_gives_the_same_bytes() -> None:
    for write in (to_json, to_csv, to_html, to_markdown):
        assert write([b0()]) == write([b0()])


def test_csv_adds_up_to_the_totals_of_each_report() -> None:
    reports = many()
    lines = list(csv.DictReader(io.StringIO(to_csv(reports))))
    for report in reports:
        mine = [line for line in lines if (line["batch"], line["precision"]) == (str(report.batch), report.precision)]
        assert sum(float(line["seconds"]) for line in mine) == pytest.approx(report.latency)
        assert sum(float(line["matrix_flops"]) + float(line["vector_flops"]) for line in mine) == pytest.approx(report.flops)
        assert sum(float(line["dram_bytes"]) + float(line["l2_bytes"]) for line in mine) == pytest.approx(report.bytes)


def test_csv_of_devices_with_other_caches_leaves_cells_empty() -> None:
    lines = list(csv.DictReader(io.StringIO(to_csv(roofline.analyze_many("resnet18", ["t4", "c5.2xlarge"])))))
    assert {line["l3_bytes"] == "" for line in lines if line["hardware"] == "t4"} == {True}
    assert {line["l3_bytes"] == "" for line in lines if line["hardware"] == "c5.2xlarge"} == {False}


# --- HTML --------------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Collect the tags, attributes and text of a page, and check that what is opened is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize(
    "html", [lambda: to_html([b0()]), lambda: to_html(many()), lambda: to_compare_html(many())], ids=["one", "several", "comparison"]
)
def test_a_page_is_well_formed_and_fetches_nothing(html: Callable[[], str]) -> None:
    text = html()
    page = Page(text)
    assert not {"link", "img", "iframe", "object", "embed"} & set(page.tags)
    assert {value for name, value in page.attributes if name in ("src", "href")} <= {"#"}
    assert text.count("default-src 'none'") == 1
    assert re.findall(r"https?:|url\(|@import|<link", text) == []


def test_what_a_notebook_shows_runs_and_fetches_nothing() -> None:
    report = b0()
    text = report._repr_html_()
    page = Page(text)
    assert {name for name, _ in page.attributes} <= {"class", "role", "aria-label", "style", "title"}
    assert "script" not in page.tags
    assert re.findall(r"https?:|url\(|@import|<link", text) == []
    assert page.tags.count("tr") == 2 + len(report.by_op()) + 10
    assert len(text) < 20_000


def test_the_facts_are_in_the_page_without_its_scripts() -> None:
    report = b0(batch=4)
    text = Page(to_html([report])).text
    low, high = report.interval
    for fact in (
        "efficientnet_b0 on Hand-made", "batch 4 · fp32 · eager", units.seconds(report.latency), report.finding(),
        f"80 % between {units.seconds(low)} and {units.seconds(high)}; uncalibrated", units.seconds(report.lower_bound),
        f"{units.significant(report.throughput)} items/s",
        f"overhead {units.percent(report.seconds_by_bound['overhead'] / report.latency)}",
        "need JavaScript",
    ):  # fmt: skip
        assert fact in text
    rows = Page(to_compare_html(many())).tags.count("tr")
    assert rows == 1 + len(many())


# --- names that try to break out ---------------------------------------------------------------------------------------

HOSTILE = (
    "<script>alert(1)</script>",
    "=cmd()",
    "@sum",
    "a|b",
    "[red]x[/red]",
    "[link](javascript:1)",
    "\x1b[31mred",
    "new\nline",
    "tab\t",
    "\udcff",
)


@pytest.fixture(name="hostile", scope="module")
def _hostile() -> Report:
    network = nn.Sequential()
    for name in HOSTILE:
        network.add_module(name, nn.Conv2d(3, 3, 1))
    return roofline.analyze(network, HAND, example_inputs=(1, 3, 4, 4))


def test_html_shows_hostile_names_as_text(hostile: Report) -> None:
    cell = hostile._repr_html_()
    assert "<script" not in cell
    assert "<script>alert(1)</script>" in Page(cell).text
    assert "alert(1)" not in hostile.to_html()  # the names are in the pack


def test_csv_keeps_spreadsheets_from_running_names(hostile: Report) -> None:
    names = [line["layer"] for line in csv.DictReader(io.StringIO(hostile.to_csv()))]
    assert names[:3] == ["<script>alert(1)</script>", "'=cmd()", "'@sum"]
    assert names[7] == "new\nline"


def test_markdown_keeps_its_columns_and_links_nothing(hostile: Report) -> None:
    lines = [line for line in to_markdown([hostile], top=20).splitlines() if "pointwise conv" in line and line.startswith("|")]
    assert len(lines) == len(HOSTILE)
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {9}
    assert any(line.startswith("| a\\|b |") for line in lines)
    assert any(line.startswith("| \\[link](javascript:1) |") for line in lines)
    assert any(line.startswith("| &lt;script>") for line in lines)


def test_the_terminal_takes_no_markup_and_no_control_characters(hostile: Report) -> None:
    text = to_text([hostile], top=20)
    assert "[red]x[/red]" in text
    assert "\x1b" not in text
    assert "new�line" in text


def test_json_keeps_hostile_names_as_they_are(hostile: Report) -> None:
    (analysis,) = json.loads(hostile.to_json())["analyses"]
    assert [row["name"] for row in analysis["layers"]] == list(HOSTILE)


@pytest.mark.parametrize("suffix", [".json", ".csv", ".md", ".html"])
def test_hostile_names_can_be_saved(hostile: Report, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"report{suffix}"
    save(writer_for(path)([hostile]), path)
    assert path.stat().st_size > 1000


# --- files -------------------------------------------------------------------------------------------------------------


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")
    b0().to_json(path)
    assert json.loads(path.read_text())["schema"] == 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(RooflineError, match=r"cannot write .*report.json': No space left on device"):
        b0().to_json(path)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("report.json", "old")]


@pytest.mark.parametrize("suffix", [".pdf", "", ".jso", ".html.gz"])
def test_an_unknown_suffix_names_the_known_ones(suffix: str) -> None:
    with pytest.raises(RooflineError, match=r"unknown suffix .*; use .json, .csv, .md, .html"):
        writer_for(f"report{suffix}")


def test_a_suffix_is_read_in_any_case() -> None:
    assert writer_for("REPORT.JSON") is to_json


def test_a_report_of_an_op_without_a_rule_says_so_on_its_first_screen() -> None:
    @torch.library.custom_op("reporttest::odd", mutates_args=())
    def odd(x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    odd.register_fake(torch.empty_like)

    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return odd(x)

    report = roofline.analyze(Odd(), HAND, example_inputs=(1, 10))
    assert "unknown ops, counted by their bytes only: reporttest.odd (x1, 80.0 B)" in str(report)
    assert "Unknown ops, counted by their bytes only: reporttest.odd" in report.to_html()
    assert json.loads(report.to_json())["analyses"][0]["unknown_ops"] == {"reporttest.odd": {"count": 1, "bytes": 80}}
