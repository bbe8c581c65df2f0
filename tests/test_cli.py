"""The command line: help, exit codes, formats, and what it prints where."""

import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import roofline
from roofline.cli import COMMANDS, root, run

ENVIRONMENT_OF_A_PIPE = ("COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE")


@pytest.fixture(autouse=True)
def _pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT_OF_A_PIPE:
        monkeypatch.delenv(name, raising=False)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the command line, which must succeed in silence on stderr, and give what it prints."""
    code = run(list(arguments))
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    return out


def commands(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Walk the tree of commands."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from commands(child, (*path, name))


TREE = dict(commands(root, ("roofline",)))


# --- help --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", TREE, ids=" ".join)
def test_every_command_has_help_with_an_example_of_itself(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, *path[1:], "--help")
    example = text[text.index("Example") :]
    assert any(f"{line.strip()} ".startswith(f"{' '.join(path)} ") for line in example.splitlines())
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("path", TREE, ids=" ".join)
def test_every_option_says_what_it_does(path: tuple[str, ...]) -> None:
    options = [p for p in TREE[path].params if isinstance(p, click.Option)]
    assert [p.name for p in options if not p.help] == []


def test_the_commands_are_those_of_the_table() -> None:
    assert {path[1] for path in TREE if len(path) > 1} == set(COMMANDS)


@pytest.mark.parametrize("arguments", [[], ["cache"], ["hardware"]])
def test_a_group_alone_shows_its_help_as_bad_input(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"Usage: {' '.join(['roofline', *arguments])}")


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "--version") == f"roofline {roofline.__version__}\n"


def test_the_module_runs_as_a_program() -> None:
    done = subprocess.run([sys.executable, "-m", "roofline", "--version"], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"roofline {roofline.__version__}\n", "")


# --- analyze -----------------------------------------------------------------------------------------------------------


def test_one_device_and_batch_give_a_whole_report(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "analyze", "efficientnet_b0", "--hw", "t4")
    assert out == str(roofline.analyze("efficientnet_b0", "t4"))


@pytest.mark.parametrize("arguments", [["--hw", "t4,v100"], ["--hw", "t4", "-b", "1,8"], ["--hw", "t4", "--precision", "fp32,fp16"]])
def test_several_of_anything_give_a_comparison(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    title, table, *_ = printed(capsys, "analyze", "resnet18", *arguments).split("\n\n")
    assert title.startswith("resnet18, ")
    assert len(table.splitlines()) == 3  # a header and two rows


def test_what_is_repeated_is_analyzed_once(capsys: pytest.CaptureFixture[str]) -> None:
    body = json.loads(printed(capsys, "analyze", "resnet18", "--hw", "t4,t4", "-b", "2,2", "--json"))
    assert [a["batch"] for a in body["analyses"]] == [2]


def test_json_prints_nothing_else_on_stdout(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = printed(capsys, "analyze", "resnet18", "--hw", "t4", "--json", "-o", str(tmp_path / "a.md"))
    assert out == roofline.analyze("resnet18", "t4").to_json()


def test_options_reach_the_library(capsys: pytest.CaptureFixture[str]) -> None:
    options = "--hw a100-40gb -b 4 --image-size 128 --in-chans 1 --precision fp16 --mode engine --layout NHWC --what-if weights=int8"
    out = printed(capsys, "analyze", "resnet18", *options.split(), "--json")
    report = roofline.analyze(
        "resnet18",
        "a100-40gb",
        batch=4,
        image_size=128,
        in_chans=1,
        precision="fp16",
        mode="engine",
        layout="nhwc",
        what_if=("weights=int8",),
    )
    assert out == report.to_json()


def test_a_prediction_can_do_without_what_was_fitted(capsys: pytest.CaptureFixture[str]) -> None:
    plain = printed(capsys, "analyze", "resnet18", "--hw", "t4", "--uncalibrated", "--json")
    assert plain == roofline.analyze("resnet18", "t4", calibrated=False).to_json()
    assert "; uncalibrated)" in printed(capsys, "analyze", "resnet18", "--hw", "t4", "--uncalibrated")


def test_every_format_is_written_by_its_suffix(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    files = [tmp_path / f"report{suffix}" for suffix in (".json", ".csv", ".md", ".html")]
    out = printed(capsys, "analyze", "resnet18", "--hw", "t4", *(part for file in files for part in ("-o", str(file))))
    report = roofline.analyze("resnet18", "t4")
    assert [file.read_text() for file in files] == [report.to_json(), report.to_csv(), report.to_markdown(), report.to_html()]
    assert out.splitlines()[-4:] == [f"wrote {file}" for file in files]


def test_a_comparison_is_written_to_files_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "report.csv"
    printed(capsys, "analyze", "resnet18", "--hw", "t4,v100", "-o", str(file))
    assert {line["hardware"] for line in csv.DictReader(io.StringIO(file.read_text()))} == {"t4", "v100"}


@pytest.mark.parametrize(
    ("model", "hardware", "extra"),
    [
        ("efficientnet_b7", "rtx-pro-6000-maxq", []),
        ("efficientnet_b7", "rtx-pro-6000-maxq", ["--depth", "2"]),
        ("torchvision:swin_t", "t4", ["--sort", "name", "--top", "200"]),
        ("efficientnet_b0", ",".join(roofline.hardware.names()), ["-b", "1,1024"]),
    ],
)
def test_no_line_is_longer_than_80_columns_in_a_pipe(
    model: str, hardware: str, extra: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = printed(capsys, "analyze", model, "--hw", hardware, *extra)
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out


def test_the_width_of_the_terminal_can_be_set(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    widest = max(map(len, printed(capsys, "analyze", "efficientnet_b0", "--hw", "t4").splitlines()))
    assert 80 < widest <= 140


def test_colours_can_be_forced_into_a_pipe(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[" in printed(capsys, "analyze", "resnet18", "--hw", "t4")


def test_top_depth_and_sort_shape_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert "slowest layers: 0 of " in printed(capsys, "analyze", "resnet18", "--hw", "t4", "--top", "0")
    assert "slowest modules at depth 1: 2 of " in printed(capsys, "analyze", "resnet18", "--hw", "t4", "--top", "2", "--depth", "1")
    assert "first layers: 1 of " in printed(capsys, "analyze", "resnet18", "--hw", "t4", "--top", "1", "--sort", "order")


ODD = """
import torch

@torch.library.custom_op("clitest::odd", mutates_args=())
def odd(x: torch.Tensor) -> torch.Tensor:
    return x.clone()

odd.register_fake(torch.empty_like)

class Odd(torch.nn.Module):
    def forward(self, x):
        return odd(x)

def build():
    return Odd()
"""


def test_strict_fails_a_check_with_exit_code_1_and_still_reports(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(ODD)
    assert run(["analyze", f"{tmp_path}/odd.py:build", "--hw", "t4", "--input", "1,10", "--strict"]) == 1
    out, err = capsys.readouterr()
    assert "unknown ops, counted by their bytes only: clitest.odd" in out
    assert err == "error: --strict: no cost rule for clitest.odd\n"


def test_strict_passes_a_network_whose_ops_are_all_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert "unknown ops: none" in printed(capsys, "analyze", "resnet18", "--hw", "t4", "--strict")


PRINTS = """
import torch
print("from the file")

class Net(torch.nn.Conv2d):
    def forward(self, x):
        print("from forward")
        return super().forward(x)

def build():
    return Net(3, 8, 1)
"""


def test_what_the_users_file_prints_goes_to_stderr(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(PRINTS)
    assert run(["analyze", f"{tmp_path}/net.py:build", "--hw", "t4", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["analyses"][0]["model"] == "net.py:build"
    assert set(err.splitlines()) == {"from the file", "from forward"}


# --- other commands ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["efficientnet_b*", "torchvision:efficientnet_b*"])
def test_models_lists_the_names_that_match(pattern: str, capsys: pytest.CaptureFixture[str]) -> None:
    names = printed(capsys, "models", pattern).splitlines()
    prefix = pattern.removesuffix("*")
    assert {f"{prefix}{i}" for i in range(8)} <= set(names)
    assert all(name.startswith(prefix) for name in names)


def test_the_cache_can_be_looked_at_and_emptied(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ROOFLINE_CACHE", str(tmp_path))
    assert "\n0 graphs, 0 B of " in printed(capsys, "cache", "info")
    printed(capsys, "analyze", "resnet18", "--hw", "t4")
    assert printed(capsys, "cache", "info").startswith(f"{tmp_path}\n1 graphs, ")
    assert printed(capsys, "cache", "clear").startswith("deleted 1 graphs, ")
    assert list(tmp_path.iterdir()) == []


def test_no_cache_keeps_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROOFLINE_CACHE", str(tmp_path))
    printed(capsys, "analyze", "resnet18", "--hw", "t4", "--no-cache")
    assert list(tmp_path.iterdir()) == []


# --- as a process ------------------------------------------------------------------------------------------------------


def test_a_known_network_is_analyzed_without_torch(capsys: pytest.CaptureFixture[str]) -> None:
    printed(capsys, "analyze", "resnet18", "--hw", "t4")  # now it is in the cache
    code = """
import sys
from roofline.cli import run
assert run(["analyze", "resnet18", "--hw", "t4,v100", "-b", "1,8", "--precision", "fp16", "--mode", "engine"]) == 0
print({"torch", "timm", "torchvision", "pandas", "scipy"} & set(sys.modules), file=sys.stderr)
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr == "set()\n"


@pytest.mark.parametrize(
    "arguments", [["analyze", "resnet18", "--hw", "t4"], ["analyze", "resnet18", "--hw", "t4", "--json"], ["hardware", "show", "t4"]]
)
def test_a_reader_that_has_gone_ends_it_quietly(arguments: list[str]) -> None:
    process = subprocess.Popen([sys.executable, "-m", "roofline", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()  # before it has written a line
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait() == 0


def test_a_terminal_without_unicode_gets_the_rest(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["analyze", "vit_tiny_patch16_224", "--hw", "t4", "-b", "64", "--precision", "fp16", "--sort", "order", "--top", "20"]
    assert re.search(r"blocks.0.a\S+…\S+_attention", printed(capsys, *arguments))
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = subprocess.run([sys.executable, "-m", "roofline", *arguments], capture_output=True, check=True)
    assert done.stderr == b""
    assert re.search(rb"blocks.0.a\S+\?\S+_attention", done.stdout)
