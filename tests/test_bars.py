"""Bars in a terminal: lengths that stand for times, blocks or characters for what they are spent on, and nothing too wide."""

import io
import re

import pytest
from devices import DRAM, L2, device
from rich.cells import cell_len
from rich.console import Console

import roofline
from roofline.cli import run
from roofline.report.bars import Bar, Bars, blocks
from roofline.report.text import plain, render, to_text

HAND = device(memory=(DRAM, L2))


def bar(name: str, compute: float = 0.0, memory: float = 0.0, occupancy: float = 0.0, overhead: float = 0.0) -> Bar:
    """Make a bar from its parts in seconds."""
    return Bar(name, {"compute": compute, "memory": memory, "overhead": overhead, "occupancy": occupancy})


@pytest.mark.parametrize(
    ("parts", "length", "drawn"),
    [
        ((1, 1, 1, 1), 8, "##==--.."),
        ((1, 0, 0, 3), 4, "#..."),
        ((0.1, 9.9, 0, 0), 10, "=" * 10),
        ((0, 0, 0, 0), 3, ""),
    ],
)
def test_characters_are_shared_out_among_the_parts(parts: tuple[float, ...], length: int, drawn: str) -> None:
    assert blocks(bar("x", *parts), length, solid=False).plain == drawn


def test_lengths_are_proportional_to_time_and_the_longest_fills_the_line() -> None:
    lines = plain(Bars([bar("a", compute=4e-3), bar("b", memory=2e-3), bar("c", overhead=1e-9)]), 60).splitlines()
    assert lines[0] == "# compute   = memory   . overhead"
    assert len(lines[1]) == 60
    counts = [len(re.findall(r"[#=.](?![\d])", line.split("s  ", 1)[1])) for line in lines[1:]]
    assert counts[0] == pytest.approx(2 * counts[1], abs=1)
    assert counts[2] == 1


@pytest.mark.parametrize("width", [40, 80, 132])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    wide = [bar("a_module_with_quite_a_long_name." * 4 + str(i), compute=10.0**-i) for i in range(9)]
    assert max(map(cell_len, plain(Bars(wide), width).splitlines())) <= width


def test_control_characters_of_a_name_do_not_reach_the_terminal() -> None:
    assert "\x1b" not in plain(Bars([bar("\x1b[31m", compute=1.0)]))


def test_the_parts_of_a_report_add_up_to_each_layer_and_to_the_latency() -> None:
    report = roofline.analyze("efficientnet_b0", HAND, batch=16)
    for rows in (report.by_layer(), report.by_module(2), report.by_op()):
        assert [sum(row.split.values()) for row in rows] == pytest.approx([row.seconds for row in rows])
        assert min(min(row.split.values()) for row in rows) >= 0
    assert sum(report.seconds_by_part.values()) == pytest.approx(report.latency)


def test_bars_take_the_place_of_the_table_of_layers() -> None:
    report = roofline.analyze("efficientnet_b0", HAND, batch=16)
    text = to_text([report], bars=True, top=3, sort="order", depth=1)
    shown = text[text.index("first modules at depth 1: 3") :].splitlines()
    assert [line.split()[0] for line in shown[2:5]] == ["conv_stem", "bn1", "blocks"]
    rows = {row.name: row for row in report.by_module(1)}
    assert f"{100 * rows['blocks'].share:.0f} %" in shown[4]
    assert "kind   " not in text[text.index("first modules") :]


def test_several_analyses_have_a_bar_each() -> None:
    text = to_text(roofline.analyze_many("resnet18", ["t4", "v100"], [1, 64]), bars=True)
    lines = text[text.index("time, and what it is spent on") :].splitlines()[2:6]
    assert [re.split(r"\s{2,}", line)[0] for line in lines] == ["t4 batch 1", "t4 batch 64", "v100 batch 1", "v100 batch 64"]
    assert max(map(len, text.splitlines())) <= 80


def printed(**options: object) -> str:
    """Print bars on a screen of the given kind."""
    screen = Console(file=io.StringIO(), width=80, **options)  # pyright: ignore[reportArgumentType]
    screen.print(Bars([bar("a", compute=1.0, memory=1.0)]))
    return screen.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def test_blocks_are_for_screens_with_colour_and_characters_for_all_else() -> None:
    assert "█" in printed(force_terminal=True, color_system="standard")
    for options in ({"force_terminal": False}, {"force_terminal": True, "color_system": None}, {"force_terminal": True, "no_color": True}):
        text = printed(**options)
        assert "█" not in text
        assert "##" in text


def test_the_command_draws_bars(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    assert run(["analyze", "resnet18", "--hw", "t4", "--bars", "--top", "4"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out == plain(render([roofline.analyze("resnet18", "t4")], bars=True, top=4))
    assert out.isascii()
