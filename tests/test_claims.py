"""Claims: the rule that decides them, the intervals of ratios, the figures that papers print, and that the page says what the tool says."""

import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "examples"))

from studies import CHEAP, FAST, analyzed  # noqa: E402
from trials import rivals, scaling, separable, size, spread, training  # noqa: E402
from trials.figure import figure  # noqa: E402
from trials.page import markdown, section  # noqa: E402
from trials.verdict import Bar, Case, Claim, Estimate, Part, Table, over_cases, over_parts, short  # noqa: E402

PAGE = ROOT / "docs" / "claims.md"


# --- the rule ---


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [(2.0, 3.0, "yes"), (2.1, 2.2, "yes"), (1.9, 3.0, "open"), (1.0, 1.9, "no"), (2.5, 3.1, "open"), (3.1, 4.0, "no")],
)  # fmt: skip
def test_a_case_is_judged_by_its_whole_interval(low: float, high: float, outcome: str) -> None:
    assert Bar(2, 3).judge(Estimate((low + high) / 2, low, high)) == outcome


def test_a_bar_open_at_one_end_asks_nothing_there() -> None:
    assert Bar(least=2).judge(Estimate(1e9, 3, 1e10)) == "yes"
    assert Bar(most=2).judge(Estimate.exact(-5)) == "yes"
    assert (str(Bar(least=2)), str(Bar(most=0.5)), str(Bar(8, 9))) == ("at least 2.0", "at most 0.50", "8.0 to 9.0")


@pytest.mark.parametrize(
    ("yes", "open_", "no", "conditions", "verdict"),
    [
        (5, 0, 0, True, "holds"), (4, 1, 0, True, "holds under conditions"), (1, 0, 90, True, "holds under conditions"),
        (4, 1, 0, False, "cannot be told"), (1, 0, 9, False, "does not hold"), (0, 0, 1, False, "does not hold"),
        (0, 4, 5, False, "does not hold"), (0, 5, 5, False, "cannot be told"), (0, 1, 0, False, "cannot be told"),
    ],
)  # fmt: skip
def test_the_cases_of_a_part_decide_it(yes: int, open_: int, no: int, conditions: bool, verdict: str) -> None:
    assert over_cases(["yes"] * yes + ["open"] * open_ + ["no"] * no, conditions=conditions) == verdict


def test_a_single_case_is_no_condition() -> None:
    values = {("t4", "1"): 2, ("t4", "8"): 0, ("v100", "1"): 0, ("v100", "8"): 0}
    assert made(values).verdict == "does not hold"
    assert made({**values, ("t4", "8"): 2}).verdict == "holds under conditions"


@pytest.mark.parametrize(
    ("parts", "verdict"),
    [
        (("holds", "holds"), "holds"), (("does not hold", "does not hold"), "does not hold"),
        (("holds", "does not hold"), "holds under conditions"), (("cannot be told", "holds under conditions"), "holds under conditions"),
        (("cannot be told", "does not hold"), "cannot be told"), (("cannot be told",), "cannot be told"),
        (("does not hold", "does not hold", "holds"), "does not hold"),
    ],
)  # fmt: skip
def test_the_parts_of_a_claim_decide_it(parts: tuple, verdict: str) -> None:
    assert over_parts(parts) == verdict


def test_nothing_is_decided_without_cases() -> None:
    with pytest.raises(ValueError, match="no case"):
        over_cases([], conditions=False)
    with pytest.raises(ValueError, match="no part"):
        over_parts([])


def made(values: dict[tuple[str, str], float]) -> Part:
    """Cases by device and batch, held against a bar of 1."""
    cases = tuple(Case({"device": d, "batch": b}, Estimate.exact(v)) for (d, b), v in values.items())
    return Part("fast", "speed", Bar(least=1), cases, "1a")


def test_conditions_are_those_under_which_all_cases_come_out_so() -> None:
    part = made({("t4", "1"): 2, ("t4", "8"): 2, ("v100", "1"): 0.5, ("v100", "8"): 2, ("cpu", "1"): 0.5, ("cpu", "8"): 0.5})
    assert part.settled("yes") == "device t4"  # v100 at batch 8 is yes too, but that is a single case
    assert part.settled("no") == "device cpu"
    assert list(part.where())[-2:] == [("batch", "1", {"yes": 1, "open": 0, "no": 2}), ("batch", "8", {"yes": 2, "open": 0, "no": 1})]


def test_two_conditions_are_named_together_and_what_they_share_first() -> None:
    values = {("eager", "t4", "1"): 2, ("eager", "t4", "8"): 2, ("eager", "v100", "1"): 2, ("eager", "v100", "8"): 2,
              ("eager", "cpu", "1"): 0, ("eager", "cpu", "8"): 0, ("engine", "t4", "1"): 0, ("engine", "t4", "8"): 0,
              ("engine", "v100", "1"): 0, ("engine", "v100", "8"): 0, ("engine", "cpu", "1"): 0, ("engine", "cpu", "8"): 0}  # fmt: skip
    cases = tuple(Case({"mode": m, "device": d, "batch": b}, Estimate.exact(v)) for (m, d, b), v in values.items())
    part = Part("fast", "speed", Bar(least=1), cases, "1a")
    assert part.settled("yes") == "mode eager with device t4, v100"
    assert part.settled("no") == "mode engine; device cpu"
    assert part.settled("open") == ""


def test_all_cases_alike_need_no_condition() -> None:
    assert made({("t4", "1"): 2, ("v100", "1"): 3}).settled("yes") == "all"


def test_figures_are_short() -> None:
    assert [short(x) for x in (0.123, 1.234, 9.96, 123.4, 0, math.inf)] == ["0.12", "1.2", "10", "123", "0", "inf"]


# --- intervals ---


def test_independent_errors_add_up_in_quadrature() -> None:
    a, b = Estimate(8, 8 / math.e**3, 8 * math.e**3), Estimate(2, 2 / math.e**4, 2 * math.e**4)
    quotient = a / b  # widths of 3 and 4 make 5
    assert (quotient.value, quotient.low, quotient.high) == pytest.approx((4, 4 / math.e**5, 4 * math.e**5))
    assert Estimate.exact(6) / Estimate.exact(3) == Estimate.exact(2)


def test_networks_on_one_device_share_most_of_their_errors() -> None:
    a, b = analyzed(CHEAP), analyzed(CHEAP, 2)
    near = spread.ratio(a, b)
    assert near.value == pytest.approx(a.latency / b.latency * 2)
    far = spread.ratio(a, analyzed(FAST, 2))
    assert math.log(far.high / far.low) > math.log(near.high / near.low)


def test_the_spread_of_ratios_is_within_a_family_and_a_table() -> None:
    assert spread.factors.__wrapped__() == spread.factors()
    assert all(1 < factor < 2 and pairs > 10 for factor, pairs in spread.factors().values())


def test_pairs_of_errors_are_counted_both_ways_round() -> None:
    factor, pairs = spread._factor({("one",): [0.0, math.log(2), math.log(2)], ("two",): [5.0]})
    assert pairs == 3  # 0 with each of the others, and they with each other; a single timing has no partner
    assert factor == pytest.approx(2)


# --- claims ---


def test_a_separable_convolution_needs_the_operations_that_the_paper_says() -> None:
    found = separable.claim(["t4"])
    c, k = 64, 128
    assert found.parts[0].cases[0].estimate.value == pytest.approx(1 / (1 / k + 1 / 9))  # Howard et al. 2017, section 3.1
    assert found.parts[0].verdict == "holds"
    dense, apart = (separable._runs(which, "t4", "eager")[0].macs for which in (False, True))
    assert (dense, apart) == (112 * 112 * 9 * c * k, 112 * 112 * (9 * c + c * k))


def test_counts_beside_networks_of_like_accuracy_are_those_of_the_paper() -> None:
    found = size.claim(["efficientnet_b0", "resnet50", "densenet169"])
    rows = {row[0]: row for row in found.tables[0].rows}
    printed = {
        "resnet50": (4.9, 11),
        "densenet169": (2.6, 8.9),
    }  # Tan and Le 2019, table 2, times the parameters and FLOPs of B0 (recalled)
    for name, (params, macs) in printed.items():
        assert [float(cell) for cell in rows[name][-2:]] == pytest.approx([params, macs], rel=0.05)


def test_a_bound_lies_between_its_own_time_and_that_of_the_engine() -> None:
    way = next(way for way in rivals.CPU_WAYS if way.bound and way.zeros)
    (one, _) = way.runs("efficientnet_b0", ("c5.2xlarge",))
    found, engine = way.time(one), spread.time_of(one)
    assert found.low < found.value < engine.value
    assert found.high == engine.high
    assert rivals.without_memory(one, 0.8) < rivals.without_memory(one) < one.latency


def test_no_bound_is_counted_as_a_way_to_run() -> None:
    found = rivals.claim(["efficientnet_b0"])
    assert {case.at["c5 runs"] for part in found.parts for case in part.cases} == {way.name for way in rivals.ENGINES}
    assert not any(way.bound for way in rivals.ENGINES)


def test_images_a_dollar_are_speed_over_price() -> None:
    fast, money = rivals.RACES[0], next(race for race in rivals.RACES if race.money)
    ways = rivals.ENGINES[0], rivals.GPU_WAYS[0]
    speed, cheap = (rivals._estimate(race, "efficientnet_b0", *ways, "t4") for race in (fast, money))
    assert cheap.value == pytest.approx(speed.value * 0.526 / 0.34)  # $ an hour of g4dn.xlarge and c5.2xlarge


def test_activations_and_the_rest_make_the_peak() -> None:
    found = training._step("resnet50").at(8)
    fixed = sum(found.parts.get(name, 0) for name in ("weights", "buffers", "optimizer state", "gradients of weights", "update"))
    assert training.activations(found) + fixed == pytest.approx(found.total)
    share = training.share(found)
    assert share.value == pytest.approx(training.activations(found) / found.total)
    assert share.low < share.value < share.high


def test_scaling_is_compared_at_equal_macs() -> None:
    (cell,) = (c for c in scaling.claim(["t4"]).parts[0].cases if c.at["mode"] == "eager" and c.at["batch"] == "64")
    both, alone = (scaling._at(way, "t4", "eager", 64, ("t4",)) for way in ("compound", "width"))
    assert cell.estimate.value == pytest.approx((both.latency / both.macs) / (alone.latency / alone.macs))


# --- the page ---


def toy() -> Claim:
    """Return a claim of one part, which holds on one of two devices."""
    part = made({("t4", "1"): 2, ("t4", "8"): 2, ("v100", "1"): 0.5, ("v100", "8"): 0.5})
    return Claim(
        "Speed, at last", "It is fast.", "nobody", (part,), (Table("1a. Times", ("a", "b"), [("x|y", "1")], "A note."),), ("so it is",)
    )


def test_a_section_names_verdict_cases_and_tables() -> None:
    text = section(3, toy())
    for line in (
        "## 3. Speed, at last", "> It is fast.", "**Verdict: holds under conditions.**", "- so it is", "| x\\|y | 1 |", "A note.",
        "| fast | speed | at least 1.0 | 2 | 0 | 2 | holds under conditions | 1a |", "| device t4 | 2 / 0 / 0 |",
    ):  # fmt: skip
        assert line in text
    assert "batch 8" not in text  # both batches come out alike


def test_the_page_leads_to_each_section() -> None:
    text = markdown([toy()])
    assert "[Speed, at last](#1-speed-at-last)" in text
    assert "| 1 | fast | holds under conditions | 2 / 0 / 2 | device t4 | device v100 |" in text


def test_a_figure_has_every_case_and_the_bar() -> None:
    drawn = figure(toy())
    assert sum(len(trace.x) for trace in drawn.data) == 4
    assert any(shape.x0 == shape.x1 == 1 for shape in drawn.layout.shapes)


def test_a_notebook_shows_a_claim_as_escaped_html() -> None:
    hostile = replace(toy(), statement="<script>")
    assert "&lt;script&gt;" in hostile._repr_html_()
    assert "<script>" not in hostile._repr_html_()


@pytest.mark.parametrize(("number", "claim"), [(2, separable.claim), (8, scaling.claim)], ids=["separable", "scaling"])
def test_the_page_says_what_the_cheap_claims_say(number: int, claim) -> None:
    assert section(number, claim()) in PAGE.read_text()


@pytest.mark.slow
def test_the_whole_page_and_the_notebook_are_up_to_date(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from test_docs import load

    monkeypatch.setattr(sys, "argv", ["claims.py", "--check"])
    code = load(ROOT / "docs" / "claims.py").main()
    assert (code, capsys.readouterr().err) == (0, "")
