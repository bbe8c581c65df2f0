"""The page of a search draws every trial in a browser, with its front and its limits, and asks for nothing from outside."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from browsers import opened_page

import roofline
from roofline.report.search import to_html
from roofline.studies.found import Search

SPACE = {
    "resolution": [64, 96],
    "stages": [{"depth": [1, 2, 3], "width": [16, 24], "stride": 2}, {"depth": [1, 2], "width": [32, 64], "stride": 2}],
}


@pytest.fixture(scope="module")
def found() -> Search:
    free = roofline.search(SPACE, "t4", trials=24, sampler="random")
    limit = sorted(t.figures["t4_latency_seconds"] for t in free.trials)[12]
    return roofline.search(SPACE, "t4", trials=24, sampler="random", max_latency=limit)


def held(html: str) -> Any:
    body = re.search(r'<script type="application/json" id="search-data">(.*?)</script>', html)
    assert body is not None
    return json.loads(body[1])


def test_the_page_holds_every_priced_trial(found: Search) -> None:
    data, priced = held(to_html(found)), [t for t in found.trials if t.state == "complete"]
    assert data["values"]["t4_latency_seconds"] == pytest.approx([1e3 * t.figures["t4_latency_seconds"] for t in priced], rel=1e-4)
    assert data["values"]["macs"] == pytest.approx([t.figures["macs"] / 1e6 for t in priced], rel=1e-4)
    assert [group == "over a limit" for group in data["group"]] == [not t.feasible for t in priced]
    assert data["limits"]["t4_latency_seconds"] == pytest.approx(1e3 * found.rules[0].limit)
    assert data["joined"]


def test_a_limit_far_from_every_network_is_not_drawn() -> None:
    far = roofline.search(SPACE, "t4", trials=4, max_latency="10s")
    assert held(to_html(far))["limits"] == {}


def test_a_front_of_three_objectives_is_no_line() -> None:
    assert not held(to_html(roofline.search(SPACE, ["t4", "v100"], trials=4)))["joined"]


@pytest.fixture(scope="module")
def opened(found: Search, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with opened_page(to_html(found), tmp_path_factory.mktemp("page") / "s.html") as tab:
        yield tab


def test_every_trial_is_drawn_against_any_figure(opened: Any, found: Search) -> None:
    drawn = "() => document.getElementById('search-plot').data.map((trace) => [trace.name, trace.x.length, trace.mode])"
    counts = {re.sub(r" \(.*", "", name): (number, mode) for name, number, mode in opened.evaluate(drawn)}
    assert sum(number for number, _ in counts.values()) == len(found.trials)
    assert counts["front"] == (len(found.front), "lines+markers")
    assert counts["over a limit"][0] == found.counts["over a limit"]
    assert opened.locator("#search-plot .annotation").count() == 1
    opened.select_option("#x-axis", "params")
    x = opened.evaluate("() => document.getElementById('search-plot').data.flatMap((trace) => trace.x)")
    assert sorted(x) == pytest.approx(sorted(t.figures["params"] / 1e6 for t in found.trials), rel=1e-4)
    assert opened.locator("#search-plot .annotation").count() == 0


def test_the_page_fits_a_phone_and_complains_of_nothing(opened: Any) -> None:
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390
    assert opened.complaints == []
