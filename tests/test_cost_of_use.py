"""Money and energy, worked out by hand on devices of round numbers."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from studies import CHEAP, UNPRICED, analyzed

from roofline.cli import run
from roofline.studies.cost import items_per_usd, joules_per_item, lines, to_csv, usd_interval, usd_per_million


def test_a_million_items_cost_the_hours_they_take() -> None:
    # 101 us each, so 101 s for a million, at 0.1 dollars for 3600 s
    assert usd_per_million(analyzed(CHEAP)) == pytest.approx(0.1 * 101 / 3600, rel=1e-4)


def test_a_batch_shares_the_launch() -> None:
    # ten items move 80 MB in 1 ms, and launch once
    assert usd_per_million(analyzed(CHEAP, batch=10)) == pytest.approx(0.1 * 100.1 / 3600, rel=1e-4)


def test_a_dollar_buys_a_million_over_what_a_million_costs() -> None:
    assert items_per_usd(analyzed(CHEAP)) == pytest.approx(3600 / 0.1 / 101e-6, rel=1e-4)


def test_the_interval_of_the_cost_is_that_of_the_time() -> None:
    analysis = analyzed(CHEAP)
    interval = usd_interval(analysis)
    assert interval is not None
    assert [usd * 3600 / 0.1 / 1e6 for usd in interval] == pytest.approx(list(analysis.interval))


def test_energy_is_at_most_the_power_limit_for_the_time() -> None:
    assert joules_per_item(analyzed(replace(CHEAP, power=70.0), batch=10)) == pytest.approx(70 * 100.1e-6, rel=1e-4)


def test_what_is_not_known_is_not_made_up() -> None:
    analysis = analyzed(UNPRICED)
    assert usd_per_million(analysis) is items_per_usd(analysis) is usd_interval(analysis) is joules_per_item(analysis) is None
    text = "\n".join(lines([analysis]))
    assert "unpriced: no sourced price" in text
    row = next(csv.DictReader(io.StringIO(to_csv([analysis]))))
    assert (row["usd_per_million_items"], row["hardware"]) == ("", "unpriced")


def test_every_price_says_of_what_and_when(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cost", "resnet18", "--hw", "t4,h100", "-b", "1,64"]) == 0
    out = capsys.readouterr().out
    assert "t4: $0.526 an hour, g4dn.xlarge on demand in us-east-1, 2024" in out
    assert "h100: no sourced price" in out
    assert "a bound" in out
    assert max(map(len, out.splitlines())) <= 80


def test_json_holds_the_same_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cost", "resnet18", "--hw", "t4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["costs"][0]
    assert found["usd_per_million_items"] == pytest.approx(0.526 / 3600 * found["latency_seconds"] * 1e6)
    assert found["joules_per_item_at_most"] == pytest.approx(70 * found["latency_seconds"])


def test_a_comparison_shows_what_each_side_costs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = str(tmp_path / "old.json")
    assert run(["analyze", "resnet18", "--hw", "t4", "-o", saved]) == 0
    capsys.readouterr()
    assert run(["compare", saved, "resnet18", "--hw", "t4", "--cost", "--json"]) == 0
    old, new = json.loads(capsys.readouterr().out)["subjects"]
    paid = 0.526 / 3600 * new["latency_seconds"] * 1e6  # g4dn.xlarge
    assert [s["usd_per_million_items"] for s in (old, new)] == pytest.approx([paid, paid])
    assert new["joules_per_item_at_most"] == pytest.approx(70 * new["latency_seconds"])


def test_costs_stand_in_a_comparison_only_when_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.md"
    assert run(["compare", "resnet18", "--hw", "t4,h100", "--cost", "-o", str(path)]) == 0
    out = capsys.readouterr().out
    (line,) = [line.split() for line in out.splitlines() if line.startswith("$/million ")]
    assert line[2] == "-"
    assert "h100: no sourced price" in out
    assert "| $/million |" in path.read_text()
    assert run(["compare", "resnet18", "--hw", "t4,h100"]) == 0
    assert "$/million" not in capsys.readouterr().out
