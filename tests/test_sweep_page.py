"""The page of a sweep holds the rows it was made from, keeps hostile names as text, and works in a browser without the network."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsers import opened_page

from roofline.cli import run
from roofline.errors import RooflineError
from roofline.report import sweep as page
from roofline.report.packing import unpack
from roofline.report.sweep import AXES, to_html
from roofline.studies.sweep.result import Sweep
from roofline.studies.sweep.run import sweep

HOSTILE = "<script>alert(1)</script>"
NET = "import torch\n\ndef build():\n    return torch.nn.Conv2d(3, 4, 3)\n"
BROKEN = "def build():\n    raise ValueError('<b>broken</b>')\n"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    folder = tmp_path_factory.mktemp("nets") / "a\"'><img src=x onerror=alert(1)>"
    folder.mkdir()
    (folder / "net.py").write_text(NET)
    (folder / "broken.py").write_text(BROKEN)
    models = ["resnet18", "test_efficientnet", "efficientnet_b0", f"{folder}/net.py:build", f"{folder}/broken.py:build"]
    return sweep(models, ["t4", "v100", "c5.2xlarge"], batches=(1, 64), precisions=("fp32", "amp"), jobs=1)


@pytest.fixture(scope="module")
def html(found: Sweep) -> str:
    return to_html(found)


def packed(html: str) -> Any:
    body = re.search(r'<script type="application/gzip" id="sweep">([^<]*)</script>', html)
    assert body is not None
    return unpack(body[1])


def words(data: Any, key: str) -> list[str]:
    return [data["columns"][key]["words"][code] for code in data["columns"][key]["codes"]]


def test_the_page_holds_every_priced_row(found: Sweep, html: str) -> None:
    data, rows = packed(html), [row for row in found.table.to_pylist() if row["status"] == "priced"]
    assert data["rows"] == len(rows) == 4 * (2 * 2 * 2 + 2)
    assert words(data, "model") == [row["model"] for row in rows]
    assert words(data, "device") == [row["device"] for row in rows]
    assert data["columns"]["latency"] == pytest.approx([1e3 * row["latency_seconds"] for row in rows], rel=1e-6)
    assert data["columns"]["macs"] == pytest.approx([row["macs"] / row["batch"] / 1e9 for row in rows], rel=1e-6)
    assert {axis["key"] for axis in data["axes"]} <= set(AXES)


def test_published_accuracy_stands_only_where_the_image_size_is_that_of_the_weights(found: Sweep, html: str) -> None:
    data = packed(html)
    top1 = dict(zip(words(data, "model"), np.asarray(data["columns"]["top1"]).tolist(), strict=True))
    assert 68 < top1["resnet18"] < 75
    assert 76 < top1["efficientnet_b0"] < 80
    other = packed(to_html(sweep("resnet18", "t4", image_size=96, jobs=1)))
    assert "top1" not in {axis["key"] for axis in other["axes"]}


def test_names_and_reasons_are_only_text(html: str) -> None:
    outside = re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    assert "<img" not in outside
    assert "&lt;b&gt;broken&lt;/b&gt;" in outside
    assert "Networks that failed" in outside
    assert re.search(r"Not supported</h2><ul><li><b>8 rows</b>: c5\.2xlarge [^<]*amp", outside)


def test_a_page_of_too_many_rows_is_refused(found: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "MOST", 10)
    with pytest.raises(RooflineError, match=r"holds up to 10 rows, this sweep has 40; .*\.parquet"):
        to_html(found)


def test_a_sweep_of_which_nothing_was_priced_is_a_page_too(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    out = tmp_path / "s.html"
    assert run(["sweep", "--models", f"{tmp_path}/broken.py:build", "--hw", "t4", "-j", "1", "-o", str(out)]) == 1
    assert "Networks that failed" in out.read_text()


# --- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def opened(html: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with opened_page(html, tmp_path_factory.mktemp("page") / "s.html") as tab:
        yield tab


def test_filters_search_and_address_choose_rows(opened: Any, html: str) -> None:
    data = packed(html)
    wanted = sum(p == "fp32" and b == 1 for p, b in zip(words(data, "precision"), data["columns"]["batch"], strict=True))
    assert opened.inner_text("#count").startswith(f"{wanted} of 40")
    opened.select_option("#choose-device", "t4")
    assert opened.inner_text("#count").startswith("4 of 40")
    opened.fill("#choose-search", "EFFICIENT")
    assert opened.inner_text("#count").startswith("2 of 40")
    assert "device=t4" in opened.evaluate("location.hash")
    assert opened.locator("#rows tr").count() == 2
    opened.evaluate("location.hash = '#batch=&precision=amp&x=params&y=throughput'")
    opened.wait_for_function("document.getElementById('count').textContent.startsWith('16 of')")
    assert opened.input_value("#choose-y") == "throughput"


FRONTS = [("macs", "latency", (1, -1)), ("top1", "item", (1, -1)), ("params", "top1", (-1, 1)), ("throughput", "usd", (1, -1))]
"""Two figures, and whether more (1) or less (-1) of each is better beside the other."""


@pytest.mark.parametrize(("across", "up", "more"), FRONTS)
def test_the_front_holds_what_no_other_point_beats(opened: Any, html: str, across: str, up: str, more: tuple[int, int]) -> None:
    columns = packed(html)["columns"]
    opened.evaluate(f"location.hash = '#x={across}&y={up}&batch='")
    opened.wait_for_function(f"state.x === '{across}' && state.y === '{up}'")
    known = f"[sweep.columns.{across}[row], sweep.columns.{up}[row]].every(Number.isFinite)"
    rows, front = opened.evaluate(f"() => {{ const r = chosen().filter((row) => {known}); return [r, front(r, '{across}', '{up}')]; }}")
    points = {row: tuple(sign * float(columns[key][row]) for sign, key in zip(more, (across, up), strict=True)) for row in rows}
    places = set(points.values())
    best = {a for a in places if not any(b != a and b[0] >= a[0] and b[1] >= a[1] for b in places)}
    assert {points[row] for row in front} == best
    assert len(front) == len(best) > 0


def test_no_front_is_drawn_between_figures_of_which_neither_is_better(opened: Any) -> None:
    opened.evaluate("location.hash = '#x=macs&y=params'")
    opened.wait_for_function("document.getElementById('note').textContent.startsWith('There are no Pareto fronts')")
    opened.evaluate("location.hash = '#x=batch&y=latency'")
    opened.wait_for_function("state.x === 'batch'")
    assert opened.inner_text("#note").startswith("There are no Pareto fronts")
    opened.evaluate("location.hash = '#x=macs&y=latency'")
    opened.wait_for_function(
        "document.getElementById('note').textContent.includes('more MACs per item and less latency of the batch is better')"
    )


def test_a_heading_sorts_the_rows(opened: Any) -> None:
    opened.evaluate("location.hash = '#batch=&precision='")
    opened.wait_for_function("document.getElementById('count').textContent.startsWith('40 of')")
    opened.click("#head button:has-text('items per second')")
    assert opened.input_value("#choose-y") == "throughput"
    column = opened.locator("#head th").all_inner_texts().index("items per second")
    shown = [float(text) for text in opened.locator(f"#rows td:nth-child({column + 1})").all_inner_texts()]
    assert len(shown) == 40
    assert shown == sorted(shown, reverse=True)


def test_the_page_fits_a_phone_and_complains_of_nothing(opened: Any) -> None:
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390
    assert opened.complaints == []
