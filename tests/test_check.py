"""Gates for continuous integration: limits, changes, exit codes, and what is written for a pull request."""

import json
from pathlib import Path

import pytest
from studies import CHEAP, FAST, UNPRICED, analyzed

from roofline.cli import run
from roofline.errors import RooflineError
from roofline.studies.check import Change, Side, check, compare
from roofline.studies.limits import Span, read_limits

HOSTILE = "\x1b[2J|<script>`x`\n@everyone"


def test_a_line_tells_the_margin_of_a_limit_that_is_kept() -> None:
    result = check([analyzed(CHEAP)], read_limits(max_latency="2.02ms", max_memory="16MB"))
    assert result.passed
    latency, memory = result.results
    assert latency.margin == pytest.approx(0.95, rel=1e-3)  # 101 us of 2020
    assert memory.margin == pytest.approx(0.5, rel=1e-3)  # 8 MB of 16
    assert (latency.why, latency.uncertain) == ("95 % to spare", False)
    assert (latency.predicted, latency.limit) == (pytest.approx(101e-6, rel=1e-4), pytest.approx(2.02e-3))


def test_a_line_tells_how_far_a_limit_is_missed() -> None:
    result = check([analyzed(FAST), analyzed(CHEAP)], read_limits(max_latency="50us"))
    assert [line.passed for line in result.results] == [True, False]
    assert result.results[1].why == "2.0 times too slow"
    assert not result.passed


@pytest.mark.parametrize(
    ("limit", "text"), [("1000", "9.9 times the limit"), ("9k", "10 % to spare"), ("11k", "11 % too slow"), ("99k", "10.0 times too slow")]
)
def test_a_rate_has_its_own_words(limit: str, text: str) -> None:
    line = check([analyzed(CHEAP)], read_limits(min_throughput=limit)).results[0]  # 9900 items a second
    assert line.why.partition(";")[0] == text


def test_a_limit_in_the_interval_is_uncertain_and_fails_when_certainty_is_asked() -> None:
    analysis = analyzed(CHEAP)
    _, high = analysis.interval
    rules = read_limits(max_latency=f"{(analysis.latency + high) / 2:.9f}s")
    assert check([analysis], rules).passed
    assert check([analysis], rules).results[0].uncertain
    assert "uncertain, 80 % between" in check([analysis], rules).results[0].why
    assert not check([analysis], rules, certain=True).passed


def test_what_does_not_fit_fails_though_no_rule_says_so() -> None:
    result = check([analyzed(CHEAP, batch=200)], read_limits(max_params="1"))  # 1.6 GB on a device of 1 GB
    assert [line.passed for line in result.results] == [True, False]
    assert "does not fit, 1.6 times too large" in result.results[1].why


def test_a_cost_without_a_price_fails_and_says_why() -> None:
    line = check([analyzed(UNPRICED)], read_limits(max_cost="1")).results[0]
    assert (line.passed, line.value, line.why) == (False, "unknown", "no price in the profile of unpriced")


def sides(old: float, new: float, spread: float = 0.0) -> tuple[Side, Side]:
    """Two latencies, with an interval of *spread* on either side."""
    return tuple(  # type: ignore[return-value]
        Side(name, "here", {"latency": Span(v, v * (1 - spread), v * (1 + spread))}) for name, v in (("old", old), ("new", new))
    )


@pytest.mark.parametrize(
    ("rule", "old", "new", "passed"),
    [
        ("latency>+5%", 0.100, 0.104, True), ("latency>+5%", 0.100, 0.106, False), ("latency > +5 %", 0.100, 0.050, True),
        ("latency>-10%", 0.100, 0.095, False), ("latency>-10%", 0.100, 0.089, True), ("latency<-5%", 0.100, 0.090, False),
        ("latency>110ms", 0.100, 0.109, True), ("latency>110ms", 0.100, 0.111, False), ("latency>=0.5s", 1.0, 0.5, False),
        ("latency<=0.5s", 1.0, 0.6, True),
    ],
)  # fmt: skip
def test_a_change_fails_when_it_says(rule: str, old: float, new: float, passed: bool) -> None:
    assert compare([sides(old, new)], [Change.parse(rule)]).passed is passed


def test_a_change_within_the_spread_of_predictions_is_marked() -> None:
    near, far = (compare([sides(1.0, new, 0.1)], [Change.parse("latency>+5%")]).results[0] for new in (1.06, 2.0))
    assert (near.uncertain, far.uncertain) == (True, False)
    assert near.why == "+6.0 %; the 80 % intervals overlap"
    assert far.why == "+100 %"


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("latency>5%", "a change has a sign"),
        ("speed>+5%", "unknown quantity 'speed'; use one of latency, throughput"),
        ("cost>+5%", "unknown quantity 'cost'"),
        ("latency+5%", "write a quantity"),
        ("latency>", "write a quantity"),
        ("latency>10GB", "bad latency '10GB'"),
        ("latency>+x%", "a change has a sign"),
        ("", "write a quantity"),
    ],
)
def test_a_rule_that_cannot_be_read_is_an_error(rule: str, message: str) -> None:
    with pytest.raises(RooflineError, match=message.replace("+", r"\+")):
        Change.parse(rule)


def test_a_hostile_name_stays_in_its_cell_and_off_the_terminal() -> None:
    analysis = analyzed(CHEAP, name=HOSTILE)
    result = check([analysis], read_limits(max_latency="1s"))
    assert all(line.isprintable() for line in result.lines())
    text = result.to_markdown()
    assert not {"\x1b", "<script>", "@everyone"} & {word for word in ("\x1b", "<script>", "@everyone") if word in text}
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 3
    assert {line.replace("\\|", "").count("|") for line in rows} == {7}


def test_a_side_takes_the_figures_of_an_analysis() -> None:
    side = Side.of(analyzed(CHEAP, batch=10))
    assert side.spans["throughput"].value == pytest.approx(10 / 1001e-6, rel=1e-4)
    assert side.spans["traffic"].value == 80e6


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--max-latency", "1s", "--max-memory", "2GB"], 0, "all 2 rules kept"),
        (["--max-latency", "1us"], 1, "1 of 1 rules violated"),
        (["--max-macs", "1.9G", "--max-params", "11.7M"], 0, "all 2 rules kept"),  # He et al.: 1.8 G and 11.7 M
        (["--max-macs", "1.7G"], 1, "FAIL  macs 1.81 GMACs, at most 1.70 GMACs"),
        (["--min-throughput", "1"], 0, "pass  throughput"),
        ([], 2, "nothing to check; give at least one limit"),
        (["--max-latency", "fast"], 2, "bad latency 'fast'"),
        (["--max-latency", "1s", "-o", "x.html"], 2, "unknown suffix; use .md, .json"),
        (["--max-latency", "1s", "--mode", "x"], 2, "unknown mode 'x'"),
    ],
)
def test_exit_codes_of_limits(arguments: list[str], code: int, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "resnet18", "--hw", "t4", *arguments]) == code
    assert text in "".join(capsys.readouterr())


def test_markdown_and_json_for_a_pull_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = [tmp_path / "c.md", tmp_path / "c.json"]
    arguments = [
        "check",
        "resnet18",
        "--hw",
        "t4,v100",
        "--max-latency",
        "1us",
        "--markdown",
        *(w for p in written for w in ("-o", str(p))),
    ]
    assert run(arguments) == 1
    out = capsys.readouterr().out
    assert out.startswith("### resnet18: latency &lt;= 1.00 us\n\n**2 of 2 rules violated**")
    assert written[0].read_text() in out
    body = json.loads(written[1].read_text())
    assert (body["passed"], len(body["rules"])) == (False, 2)


@pytest.mark.parametrize(
    ("rule", "code"), [("latency>+5%", 1), ("latency>+1000%", 0), ("macs>+0%", 1), ("memory>2GB", 0), ("throughput<-5%", 1), ("x>1", 2)]
)
def test_exit_codes_of_changes(rule: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", "resnet18", "resnet34", "--hw", "t4", "--fail-if", rule]) == code
    assert ("rules violated" in capsys.readouterr().out) is (code == 1)


def test_a_comparison_for_a_pull_request_begins_with_its_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gate.md"
    assert run(["compare", "resnet18", "resnet34", "--hw", "t4", "--fail-if", "params>+80%", "-o", str(path)]) == 1
    text = path.read_text()
    assert text.startswith("### resnet34 beside resnet18\n\n**1 of 1 rules violated**")
    assert "\n## Compared: " in text
    assert "FAIL  params 11.7 M to 21.8 M" in capsys.readouterr().out


def test_saved_reports_are_gated_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(tmp_path / f"{name}.json") for name in ("old", "new")]
    for name, path in zip(("resnet18", "resnet34"), files, strict=True):
        assert run(["analyze", name, "--hw", "t4", "-o", path]) == 0
    assert run(["compare", *files, "--fail-if", "params>+80%"]) == 1  # 11.7 M to 21.8 M
    assert run(["compare", *files, "--fail-if", "params>+90%"]) == 0
    assert run(["compare", files[1], files[0], "--fail-if", "params>+0%"]) == 0
    assert "+86.5" in capsys.readouterr().out


def test_a_device_without_room_is_found_through_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "vgg16", "--hw", "t4", "-b", "4096", "--max-params", "1G"]) == 1
    assert "does not fit" in capsys.readouterr().out
