"""The choice of a device, by hand on three of them: 101, 26 and 51 us, for 0.1 and 1 dollar an hour and for none."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from studies import CHEAP, FAST, UNPRICED, relu, rented

from roofline.cli import run
from roofline.costmodel.device import Hardware
from roofline.errors import RooflineError, UnknownNameError
from roofline.studies.choose import Choice, choose
from roofline.studies.limits import Rule, read_limits
from roofline.studies.setting import Setting

DEVICES = (CHEAP, FAST, UNPRICED)


def chosen(hardware: Sequence[Hardware] = DEVICES, by: str = "cost", batches: Sequence[int] = (1,), **limits: str) -> Choice:
    return choose(
        relu(), hardware, limits=read_limits(**limits), by=by, batches=batches, modes=("engine",), setting=Setting(calibrated=False)
    )


def ranked(choice: Choice) -> list[str]:
    return [option.analysis.hardware.id for option in choice.options]


def reasons(choice: Choice) -> dict[str, str]:
    return {miss.hardware: miss.reason for miss in choice.misses}


@pytest.mark.parametrize(("by", "order"), [("cost", ["cheap", "fast"]), ("latency", ["fast", "unpriced", "cheap"])])
def test_each_order_ranks_by_its_own_figure(by: str, order: list[str]) -> None:
    assert ranked(chosen(by=by)) == order


def test_throughput_ranks_larger_batches_first() -> None:
    options = chosen(by="throughput", batches=(1, 10)).options
    assert [(o.analysis.hardware.id, o.analysis.batch) for o in options[:2]] == [("fast", 10), ("fast", 1)]


def test_a_device_without_a_price_is_out_of_a_rank_by_cost_alone() -> None:
    assert "no price" in reasons(chosen())["unpriced"]
    assert "unpriced" not in reasons(chosen(by="latency"))


def test_what_is_too_slow_says_by_how_much() -> None:
    choice = chosen(max_latency="50us", by="latency")
    assert ranked(choice) == ["fast"]
    assert reasons(choice)["cheap"].startswith("latency 2.0 times too slow")  # 101 us of 50
    assert reasons(choice)["unpriced"].startswith("latency 2.0 % too slow")  # 51 us of 50


def test_a_limit_on_cost_and_one_on_throughput() -> None:
    assert ranked(chosen(max_cost="0.005")) == ["cheap"]  # 0.0028 and 0.0072 dollars for a million
    assert ranked(chosen(min_throughput="20k", by="latency")) == ["fast"]  # 9.9, 38 and 19.6 thousand a second


def test_what_does_not_fit_is_out_whatever_the_limits() -> None:
    choice = chosen([CHEAP], batches=(200,))  # 200 x 8 MB on a device of 1 GB
    assert ranked(choice) == []
    assert reasons(choice)["cheap"] == "does not fit: 1.60 GB of 1.00 GB"


def test_a_precision_that_a_device_lacks_is_no_error() -> None:
    choice = choose(relu(), DEVICES, precisions=("fp32", "int8"), modes=("engine",), setting=Setting(calibrated=False))
    assert {miss.reason for miss in choice.misses if miss.precision == "int8"} == {"has no int8 unit"}
    assert ranked(choice) == ["cheap"] * 8 + ["fast"] * 8 or set(ranked(choice)) == {"cheap", "fast"}


def test_the_nearest_batch_of_a_miss_is_named() -> None:
    choice = chosen([CHEAP], batches=(1, 2, 4), max_latency="90us")
    assert [(miss.batch, miss.shortfall) for miss in choice.misses] == [(1, pytest.approx(101 / 90 - 1, rel=1e-3))]


def test_a_limit_inside_the_interval_is_uncertain() -> None:
    low, high = chosen([FAST]).options[0].analysis.interval
    assert low < 27e-6 < high  # 26, which an uncalibrated engine rarely beats
    near = chosen([FAST], max_latency=f"{(26e-6 + high) / 2:.9f}s").options[0]
    assert [doubt.rule.quantity.name for doubt in near.doubts] == ["latency"]
    far = chosen([FAST], max_latency=f"{2 * high:.9f}s").options[0]
    assert far.doubts == ()
    text = "\n".join(chosen([FAST], max_latency=f"{(26e-6 + high) / 2:.9f}s").lines())
    assert "(1) uncertain: latency limit" in text
    assert "26.0 us?" in text


def test_json_and_csv_hold_options_and_misses(tmp_path: Path) -> None:
    choice = chosen(max_latency="50us")
    body = json.loads(choice.to_json(tmp_path / "c.json"))
    assert body["limits"] == {"latency": pytest.approx(50e-6)}
    assert [o["hardware"] for o in body["options"]] == ["fast"]
    assert {m["hardware"] for m in body["misses"]} == {"cheap", "unpriced"}
    lines = list(csv.DictReader(io.StringIO(choice.to_csv())))
    assert [(line["rank"], line["hardware"]) for line in lines] == [("1", "fast"), ("", "cheap"), ("", "unpriced")]


def test_the_table_shows_each_device_at_its_best() -> None:
    choice = chosen(batches=(1, 2, 4))
    assert len(choice.options) == 6
    assert [o.analysis.hardware.id for o in choice.leaders()] == ["cheap", "fast"]
    text = list(choice.lines())
    assert "6 options in all" in "\n".join(text)
    assert max(map(len, text)) <= 80


@pytest.mark.parametrize("text", ["10", "10GB", "-5ms", "ms", "nan s", "1e400s", "0s", "", "1..2ms"])
def test_a_latency_that_cannot_be_read_is_an_error(text: str) -> None:
    with pytest.raises(RooflineError, match=r"bad latency .*; write a time such as 10ms"):
        Rule.of("latency", text)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("latency", "10ms", 0.01), ("latency", "1.5 s", 1.5), ("throughput", "1000", 1000), ("throughput", "2.5k", 2500),
        ("throughput", "1k images/s", 1000), ("memory", "2GB", 2e9), ("memory", "512MiB", 512 * 2**20), ("cost", "$0.50", 0.5),
        ("cost", "0.5", 0.5), ("macs", "400M", 4e8), ("macs", "1.5 GMACs", 1.5e9), ("params", "5.3M", 5.3e6), ("energy", "0.5", 0.5),
    ],
)  # fmt: skip
def test_limits_are_read_with_their_units(name: str, text: str, value: float) -> None:
    assert Rule.of(name, text).limit == pytest.approx(value)


@pytest.mark.parametrize(("name", "text"), [("memory", "2"), ("memory", "10ms"), ("macs", "2GB"), ("cost", "5ms"), ("params", "1 B")])
def test_a_quantity_of_another_kind_is_an_error(name: str, text: str) -> None:
    with pytest.raises(RooflineError, match=f"bad {name}"):
        Rule.of(name, text)


def test_an_unknown_order_is_an_error() -> None:
    with pytest.raises(UnknownNameError, match="unknown order 'speed'; use one of cost, latency, throughput"):
        chosen(by="speed")


def test_a_name_cannot_drive_the_terminal() -> None:
    choice = choose(replace(relu(), name="\x1b[2Jevil"), [rented("d", 1e9, 1.0)], setting=Setting(calibrated=False))
    assert all(line.isprintable() for line in choice.lines())


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--hw", "t4,v100", "--max-latency", "1s"], 0, "best cost first"),
        (["--hw", "t4", "--max-latency", "1us"], 1, "nothing keeps these limits"),
        (["--hw", "t44"], 2, "unknown hardware 't44'"),
        (["--hw", "t4", "--max-latency", "10"], 2, "bad latency '10'"),
        (["--hw", "t4", "-o", "a.txt"], 2, "unknown suffix"),
        (["--hw", "t4", "--precision", "fp12"], 2, "unknown precision 'fp12'"),
    ],
)
def test_exit_codes(arguments: list[str], code: int, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["choose", "resnet18", "-b", "1,8", *arguments]) == code
    assert text in "".join(capsys.readouterr())
