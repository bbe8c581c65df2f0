"""Figures: each shows the report's own figures, keeps hostile names as text, and draws in a browser without a complaint."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from browsers import BROWSER
from devices import DRAM, L2, device
from torch import nn

import roofline
from roofline.costmodel.sweep import BATCHES, sweep
from roofline.errors import RooflineError
from roofline.report.report import Report
from roofline.report.views import VIEWS
from roofline.report.views.look import BOUND_COLOURS, DARK_BOUND_COLOURS, blocks, out_of, text

HAND = device(memory=(DRAM, L2))
HOSTILE = ("<script>alert(1)</script>", "<b>bold</b>", "%{x}", "$\\alpha$", '"><img src=x onerror=alert(1)>', "new\nline", "&amp;")


@pytest.fixture(name="report", scope="module")
def _report() -> Report:
    return roofline.analyze("efficientnet_b0", HAND, batch=16, calibrated=False)


@pytest.fixture(name="hostile", scope="module")
def _hostile() -> Report:
    network = nn.Sequential()
    for name in HOSTILE:
        network.add_module(name, nn.Conv2d(3, 3, 1))
    return roofline.analyze(network, HAND, example_inputs=(1, 3, 4, 4))


def drawn(report: Report, name: str, **options: Any) -> dict[str, Any]:
    """Draw a view and read it back as plotly's JavaScript would get it, with arrays as lists."""
    figure = getattr(report, name)(**options)
    return json.loads(json.dumps(figure.to_dict(), default=list))


def strings(value: Any) -> Iterator[str]:
    """Walk every text in a figure."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (found for part in value.values() for found in strings(part))
    elif isinstance(value, list):
        yield from (found for part in value for found in strings(part))


# --- what they show ----------------------------------------------------------------------------------------------------


def test_every_view_is_a_method_of_a_report_with_the_same_options() -> None:
    for name, view in VIEWS.items():
        method = getattr(Report, name).__kwdefaults__
        assert method == view.__kwdefaults__, name


def test_the_roofline_has_a_point_for_each_kernel_with_flops_and_says_what_is_missing(report: Report) -> None:
    figure = drawn(report, "roofline")
    points = [(x, y) for trace in figure["data"] if trace["mode"] == "markers" for x, y in zip(trace["x"], trace["y"], strict=True)]
    rows = [row for row in report.rows() if row["matrix_flops"] + row["vector_flops"] > 0]
    flops = [row["matrix_flops"] + row["vector_flops"] for row in rows]
    moved = [row["dram_bytes"] + row["l2_bytes"] for row in rows]
    assert sorted(x for x, _ in points) == pytest.approx(sorted(f / b for f, b in zip(flops, moved, strict=True)))
    assert sorted(y for _, y in points) == pytest.approx(sorted(f / row["seconds"] for f, row in zip(flops, rows, strict=True)))
    missing = len(report.rows()) - len(rows)
    assert missing == 0 or any(f"not shown: {missing} kernel" in t for t in strings(figure["layout"]))


def test_kernels_without_flops_are_counted_in_the_note_of_the_roofline() -> None:
    network = nn.Sequential(nn.Conv2d(8, 8, 1), nn.ChannelShuffle(2), nn.ChannelShuffle(4))
    report = roofline.analyze(network, HAND, example_inputs=(1, 8, 4, 4), calibrated=False)
    without = [row for row in report.rows() if row["matrix_flops"] + row["vector_flops"] == 0]
    assert without
    share = sum(row["seconds"] for row in without) / report.latency
    note = next(t for t in strings(drawn(report, "roofline")["layout"]) if "not shown" in t)
    assert f"not shown: {len(without)} kernels without FLOPs, {100 * share:.0f} % of the time" in note


def test_roofs_are_those_of_what_the_kernels_use() -> None:
    half = roofline.analyze("efficientnet_b0", HAND, precision="fp16", mode="engine", calibrated=False)
    traces = [t for t in drawn(half, "roofline")["data"] if t["mode"] == "lines"]
    ends = {t["line"]["dash"]: sorted(y for y, after in pairwise(t["y"]) if y is not None and after == y) for t in traces}
    assert ends["solid"] == [1e12, 4e12]  # the ceilings of the fp16 vector and matrix engines, and not that of fp32
    assert ends["dash"] == [2e12, 8e12]
    whole = " ".join(strings(drawn(half, "roofline")["layout"]["annotations"]))
    assert "fp16 matrix 4.00 of 8.00 TFLOP/s" in whole
    assert "DRAM 80.0 of 100 GB/s" in whole
    assert "fp32" not in whole


def test_memory_roofs_rise_with_the_copy_bandwidth(report: Report) -> None:
    solid = next(t for t in drawn(report, "roofline")["data"] if t["mode"] == "lines" and t["line"]["dash"] == "solid")
    segments = pairwise(zip(solid["x"], solid["y"], strict=True))
    rising = [(a, b) for a, b in segments if None not in (*a, *b) and a[1] != b[1]]
    assert [b[1] / b[0] for _, b in rising] == pytest.approx([a[1] / a[0] for a, _ in rising])
    slopes = {round(a[1] / a[0] / 1e9) for a, _ in rising}
    assert slopes == {80, 400}


@pytest.mark.parametrize("depth", [None, 2])
def test_bars_of_the_timeline_add_up_to_each_layer_and_to_the_latency(report: Report, depth: int | None) -> None:
    figure = drawn(report, "timeline", depth=depth)
    rows = report.by_layer() if depth is None else report.by_module(depth)
    unit = {"ms a layer": 1e-3, "us a layer": 1e-6, "ms a module": 1e-3}[figure["layout"]["yaxis"]["title"]["text"]]
    bars = [trace["y"] for trace in figure["data"] if trace["type"] == "bar"]
    assert len(bars) == 4
    assert [unit * sum(parts) for parts in zip(*bars, strict=True)] == pytest.approx([row.seconds for row in rows])
    running = next(trace["y"] for trace in figure["data"] if trace["type"] == "scatter")
    assert running[-1] == pytest.approx(100)
    assert running == sorted(running)


@pytest.mark.parametrize(("value", "whole"), [("time", "latency"), ("bytes", "bytes"), ("flops", "flops")])
def test_modules_hold_what_their_children_hold(report: Report, value: str, whole: str) -> None:
    (tree,) = drawn(report, "modules", value=value)["data"]
    sizes = dict(zip(tree["ids"], tree["values"], strict=True))
    children: dict[str, float] = {}
    for name, parent in zip(tree["ids"], tree["parents"], strict=True):
        children[parent] = children.get(parent, 0.0) + sizes[name]
    (root,) = (name for name, parent in zip(tree["ids"], tree["parents"], strict=True) if parent == "")
    assert sizes[root] == pytest.approx(getattr(report, whole))
    assert all(children[name] <= sizes[name] * (1 + 1e-9) for name in children if name)
    named = dict(zip(tree["labels"], tree["values"], strict=True))
    rows = {row.name: row for row in report.by_module(1)}
    blocks_row = rows["blocks"]
    expected = {"time": blocks_row.seconds, "bytes": blocks_row.cost.bytes, "flops": blocks_row.cost.flops}
    assert named["blocks"] == pytest.approx(expected[value])


def test_modules_can_be_a_treemap(report: Report) -> None:
    assert [drawn(report, "modules", shape=shape)["data"][0]["type"] for shape in ("icicle", "treemap")] == ["icicle", "treemap"]


def test_the_waterfall_leads_from_nothing_by_the_limit_to_the_latency(report: Report) -> None:
    figure = drawn(report, "waterfall")
    unit = {"s": 1.0, "ms": 1e-3, "us": 1e-6}[figure["layout"]["xaxis"]["title"]["text"]]
    bars = {
        y: (base * unit, (base + x) * unit)
        for trace in figure["data"]
        if trace["type"] == "bar"
        for y, base, x in zip(trace["y"], trace["base"], trace["x"], strict=True)
    }
    names = [re.sub("<[^>]+>", "", name) for name in figure["layout"]["yaxis"]["ticktext"]]
    assert names == ["arithmetic", "traffic", "= limit", "ceilings", "efficiency", "occupancy", "overhead", "= latency"]
    assert bars[2] == (0, pytest.approx(report.lower_bound))
    assert bars[7] == (0, pytest.approx(report.latency))
    assert bars[6][1] == pytest.approx(report.latency)
    overhead = sum(row["overhead_seconds"] for row in report.rows())
    assert bars[6][1] - bars[6][0] == pytest.approx(overhead)


def test_a_step_that_makes_good_an_earlier_one_is_hatched(report: Report) -> None:
    winograd = roofline.analyze("vgg16", "v100", batch=64)  # multiplies less than is counted
    assert winograd.latency < winograd.lower_bound
    shapes = {
        trace["y"][0]: trace["marker"]["pattern"]["shape"] for trace in drawn(winograd, "waterfall")["data"] if trace["type"] == "bar"
    }
    assert [y for y, shape in shapes.items() if shape] == [4]
    assert not [t for t in drawn(report, "waterfall")["data"] if t["type"] == "bar" and t["marker"]["pattern"]["shape"]]


def test_the_sweep_shows_what_each_batch_size_gives(report: Report) -> None:
    figure = drawn(report, "sweep", batches=[1, 8, 64])
    lines = [t for t in figure["data"] if t["mode"] == "lines" and t["yaxis"] == "y"]
    line = next(t for t in lines if t["line"]["width"] == 1.2 and not t.get("name"))
    again = roofline.analyze_many("efficientnet_b0", [HAND], [1, 8, 64], calibrated=False)
    assert line["x"] == [1, 8, 64]
    assert line["y"] == pytest.approx([r.latency for r in again])
    marked = {x: t["name"] for t in figure["data"] if t["mode"] == "markers" for x in t["x"]}
    assert marked == {r.batch: f"bound by {r.bound}" for r in again}


def test_batch_sizes_that_do_not_fit_are_said_to_be_so(report: Report) -> None:
    texts = [a["text"] for a in drawn(report, "sweep")["layout"]["annotations"] if "fit" in a["text"]]
    too_large = [run.batch for run in roofline.analyze_many("efficientnet_b0", [HAND], BATCHES) if run.peak_memory > 8e9]
    assert texts == [f"batch {too_large[0]} does not fit in 8.00 GB"]
    assert not [s for s in strings(drawn(report, "sweep", batches=[1, 2])["layout"]) if "does not fit" in s]


def test_a_sweep_is_what_an_analysis_of_each_batch_size_is() -> None:
    for mode, precision in (("engine", "fp16"), ("ideal", "fp32"), ("compiled", "amp")):
        once = roofline.analyze("mobilenetv3_small_100", "t4", batch=3, mode=mode, precision=precision, what_if=("fold-bn",))
        for run in sweep(once, [1, 64]):
            again = roofline.analyze("mobilenetv3_small_100", "t4", batch=run.batch, mode=mode, precision=precision, what_if=("fold-bn",))
            assert type(run) is Report
            assert (run.latency, run.lower_bound, run.peak_memory, run.bound) == (
                again.latency, again.lower_bound, again.peak_memory, again.bound,
            )  # fmt: skip


def test_a_network_that_is_fixed_at_a_batch_size_has_no_other(report: Report) -> None:
    fixed = replace(report, graph=replace(report.graph.with_batch(16), batch=None))
    assert [run.batch for run in sweep(fixed)] == [16]
    with pytest.raises(RooflineError, match="cannot analyze batch 2: efficientnet_b0 is fixed at batch 16"):
        sweep(fixed, [2])
    with pytest.raises(RooflineError, match="cannot analyze batch 0: a batch is a whole number from 1"):
        sweep(report, [0])


def test_memory_peaks_where_the_report_does_and_its_owners_add_up(report: Report) -> None:
    figure = drawn(report, "memory")
    weights, live, peak, owners = figure["data"]
    assert peak["y"] == [pytest.approx(report.peak_memory)]
    assert max(w + a for w, a in zip(weights["y"], live["y"], strict=True)) == pytest.approx(report.peak_memory)
    assert sum(owners["x"]) == pytest.approx(max(live["y"]))


def test_the_memory_of_the_device_is_drawn_when_it_is_near(report: Report) -> None:
    near, far = (drawn(roofline.analyze("efficientnet_b0", HAND, batch=batch), "memory")["layout"] for batch in (512, 1))
    assert [shape["y0"] for shape in near["shapes"]] == [8e9]
    assert "shapes" not in far


# --- how they look -----------------------------------------------------------------------------------------------------


def test_bounds_have_the_colours_of_the_page(report: Report) -> None:
    page = report._repr_html_()
    found: dict[str, list[str]] = {}
    for name, colour in re.findall(r"--(compute|memory|overhead|occupancy):\s*(#[0-9a-f]{6})", page):
        found.setdefault(name, []).append(colour)
    assert {name: colours[0] for name, colours in found.items()} == BOUND_COLOURS
    assert {name: colours[-1] for name, colours in found.items()} == DARK_BOUND_COLOURS


def test_figures_follow_the_template_that_is_set(report: Report) -> None:
    from plotly import io

    before = io.templates.default
    try:
        io.templates.default = "plotly_dark"
        assert report.waterfall().layout.paper_bgcolor == "#0f1419"
        assert report.waterfall(dark=False).layout.paper_bgcolor == "#ffffff"
        io.templates.default = "plotly"
        assert report.waterfall().layout.paper_bgcolor == "#ffffff"
    finally:
        io.templates.default = before


def test_plotly_loads_when_a_figure_is_drawn() -> None:
    code = "import sys, roofline.report.report, roofline.report.views; print({'plotly', 'pandas'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


@pytest.mark.parametrize(
    ("part", "whole", "written"), [(7.2e12, 8.1e12, "7.20 of 8.10 TFLOP/s"), (0.9e12, 1.2e12, "0.900 of 1.20 TFLOP/s")]
)
def test_a_part_is_written_with_the_prefix_of_the_whole(part: float, whole: float, written: str) -> None:
    assert out_of(part, whole, "FLOP/s") == written


def test_blocks_are_marked_where_they_begin() -> None:
    names = ["stem", *(f"layers.{i}.{part}" for i in range(3) for part in ("a", "b")), "head"]
    assert blocks(names, most=5) == ([0, 1, 3, 5, 7], ["stem", "layers.0", "layers.1", "layers.2", "head"])
    assert blocks(names, most=4) == ([0, 1, 7], ["stem", "layers", "head"])


# --- names that try to break out ---------------------------------------------------------------------------------------


def test_a_name_is_text_to_plotly() -> None:
    assert text("<b>x</b>") == "&lt;b&gt;x&lt;/b&gt;"
    assert text("$x$ & y") == "&#36;x&#36; &amp; y"
    assert text("a\x1b[0m") == "a�[0m"
    assert len(text("x" * 500)) == 40


@pytest.mark.parametrize("name", VIEWS)
def test_no_view_holds_markup_of_a_name(hostile: Report, name: str) -> None:
    found = list(strings(drawn(hostile, name)))
    tags = {tag for string in found for tag in re.findall(r"<\s*/?\s*(\w+)", string)}
    assert tags <= {"b", "br", "span", "extra"}
    assert not [s for s in found if "<b>bold" in s or "<script" in s or "<img" in s or "$\\alpha$" in s]
    templates = [s for s in found if "%{x}" in s and ("hovertemplate" in s or "<extra>" in s)]
    assert templates == []


def test_hostile_names_can_be_read_in_the_figures(hostile: Report) -> None:
    shown = " ".join(strings(drawn(hostile, "timeline")))
    for name in HOSTILE:
        assert text(name, 72) in shown


# --- in a browser ------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome on PATH")
def test_every_view_draws_without_a_complaint_and_without_overflow(report: Report, hostile: Report, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    figures = [getattr(r, name)(dark=dark) for name in VIEWS for r, dark in ((report, False), (hostile, True))]
    parts = [f.to_html(full_html=False, include_plotlyjs="inline" if i == 0 else False) for i, f in enumerate(figures)]
    page_file = tmp_path / "views.html"
    page_file.write_text(f'<!doctype html><meta charset="utf-8"><body style="margin:0;width:800px">{"".join(parts)}</body>')
    said: list[str] = []
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 800, "height": 600})
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append("a script ran"))
        page.goto(page_file.as_uri())
        page.wait_for_function(f"document.querySelectorAll('.main-svg .gtitle').length >= {len(figures)}")
        titles = page.eval_on_selector_all(".gtitle", "all => all.map(t => [t.getBoundingClientRect().width, t.textContent])")
        stray = page.eval_on_selector_all("img, script[src]", "all => all.length")
        browser.close()
    assert said == []
    assert stray == 0
    assert max(width for width, _ in titles) < 800
    assert sum("efficientnet_b0 on Hand-made" in title for _, title in titles) == len(VIEWS)
