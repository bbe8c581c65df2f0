"""Bad input of every kind: one line on stderr that begins with `error:`, exit code 2, no traceback and no file left behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import interruptible

from roofline.cli import run
from roofline.costmodel.hardware import load_hardware

T4 = ("--hw", "t4")


@pytest.fixture(name="refused")
def _refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., str]:
    """Run the command line in an empty folder, check how it fails, and return its one line."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def check(*arguments: str) -> str:
        code = run(list(arguments))
        out, err = capsys.readouterr()
        assert (code, out) == (2, "")
        assert "Traceback" not in err
        (line,) = err.splitlines()
        assert line.startswith("error: ")
        assert list(Path.cwd().iterdir()) == []
        return line

    return check


# --- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("analyze", "efficientnet_b9", *T4), "unknown model 'efficientnet_b9'; did you mean efficientnet_b"),
        (("analyze", "zzzzzzzz", *T4), "unknown model 'zzzzzzzz'; `roofline models PATTERN` lists the known ones"),
        (("analyze", "torchvision:resnet19", *T4), "unknown model 'torchvision:resnet19'; did you mean resnet1"),
        (("analyze", "", *T4), "the model has no name"),
        (("analyze", "resnet18", "--hw", "t5"), "unknown hardware 't5'; did you mean t4? known: a100-40gb, "),
        (("analyze", "resnet18", "--hw", "t4,qqqqqqqq"), "unknown hardware 'qqqqqqqq'; known: a100-40gb, "),
        (("analyze", "resnet18", "--hw", ","), "give at least one value"),
        (("analyze", "resnet18"), "Missing option '--hw'"),
        (("analyze", *T4), "Missing argument 'MODEL'"),
        (("analyze", "resnet18", *T4, "--precision", "fp61"), "unknown precision 'fp61'; use one of fp32, tf32, amp, fp16, bf16"),
        (("analyze", "resnet18", *T4, "--mode", "eagre"), "unknown mode 'eagre'; use one of eager, compiled, engine, ideal"),
        (("analyze", "resnet18", *T4, "--layout", "nchx"), "unknown layout 'nchx'; use one of nchw, nhwc"),
        (("analyze", "resnet18", *T4, "--what-if", "fold-bm"), "unknown what-if 'fold-bm'; did you mean fold-bn?"),
        (("analyze", "resnet18", *T4, "--what-if", "weights=int3"), "bad what-if 'weights=int3'; write weights=VALUE with one of"),
        (("analyze", "resnet18", *T4, "--sort", "size"), "'size' is not one of 'time', 'order'"),
        (("analyze", "resnet18", *T4, "--bogus"), "'--bogus'. Did you mean '--bars'? See roofline analyze --help"),
        (("analyze", "resnet18", "extra", *T4), "unexpected extra argument"),
        (("anlyze", "resnet18", *T4), "unknown command 'anlyze'; did you mean analyze? known: analyze, "),
        (("xyzzy",), "unknown command 'xyzzy'; known: analyze, "),
        (("--bogus",), "No such option '--bogus'"),
        (("cache", "burn"), "No such command 'burn'; see roofline cache --help"),
        (("models", "zzzzzzzz"), "no model matches 'zzzzzzzz'"),
        (("hardware", "show", "t5"), "unknown hardware 't5'; did you mean t4?"),
    ],
)  # fmt: skip
def test_a_wrong_name_is_answered_with_the_right_ones(refused: Callable[..., str], arguments: tuple[str, ...], message: str) -> None:
    assert message in refused(*arguments)


# --- numbers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("-b", "0", "bad batch size 0; use a whole number from 1 to 1048576"),
        ("-b", "-3", "bad batch size -3"),
        ("-b", "99999999999", "bad batch size 99999999999"),
        ("-b", "1,0", "bad batch size 0"),
        ("-b", "x", "'x' is not a whole number"),
        ("-b", "1.5", "'1.5' is not a whole number"),
        ("-b", "--1", "'--1' is not a whole number"),
        ("-b", "³", "'³' is not a whole number"),
        ("-b", "", "give at least one value"),
        ("-b", "9" * 5000, "is not a whole number"),
        ("--image-size", "7", "bad image size 7: resnet18 takes square images of 32 to 8192 pixels a side"),
        ("--image-size", "0", "bad image size 0"),
        ("--image-size", "-224", "bad image size -224"),
        ("--image-size", "1000000000", "bad image size 1000000000"),
        ("--image-size", "big", "'big' is not a valid integer"),
        ("--in-chans", "0", "bad number of input channels 0; use 1 to 65536"),
        ("--in-chans", "-1", "bad number of input channels -1"),
        ("--input", "garbage", "bad input 'garbage'; write positive sizes with the batch first, such as 1,3,224,224"),
        ("--input", "", "bad input ''"),
        ("--input", "1,3,0,224", "bad input '1,3,0,224'"),
        ("--input", "1,3,99999999999,1", "bad input '1,3,99999999999,1'"),
        ("--input", "1,3,224,224:fp99", "unknown data type 'fp99'; use one of fp32, "),
        ("--input", "1,3,224", "resnet18 failed on an input of 3x224 per item"),
        ("--input", "1,5,224,224", "resnet18 failed on an input of 5x224x224 per item"),
        ("--depth", "0", "0 is not in the range x>=1"),
        ("--top", "-1", "-1 is not in the range x>=0"),
        ("--precision", "bf16", "t4 has no bf16 unit; use one of fp32, fp16, int8, int4"),
    ],
)
def test_a_wrong_value_is_named_with_its_rule(refused: Callable[..., str], option: str, value: str, message: str) -> None:
    assert message in refused("analyze", "resnet18", *T4, option, value)


def test_a_device_without_a_type_says_so_among_others(refused: Callable[..., str]) -> None:
    assert "h100 has no int4 unit" in refused("analyze", "resnet18", "--hw", "a100-40gb,h100", "--precision", "int4")


# --- profiles ----------------------------------------------------------------------------------------------------------


def profile(folder: Path, change: Callable[[str], str]) -> str:
    """Write a changed copy of the T4's profile and give its path."""
    path = folder / "bad.yaml"
    path.write_text(change(Path(load_hardware("t4").file).read_text()))
    return str(path)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(9)
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "name: !!python/object/apply:os.system ['touch pwned']\n" + text, "is refused"),
        (lambda text: BOMB + text, "anchors and aliases are refused"),
        (lambda _: "[" * 100_000, ""),
        (lambda _: "", "is empty"),
        (lambda _: "just text", "must be a mapping"),
        (lambda text: text.replace("schema: 1", "schema: 2"), "schema"),
        (
            lambda text: text.replace("    per_clock_per_unit: {value: 128, kind: datasheet, src: nvtur}\n", ""),
            "engines[1].per_clock_per_unit: is missing",
        ),
        (lambda text: text.replace("{value: 128,", "{value: -128,"), "must be a positive number, not -128"),
        (lambda text: text.replace("{value: 128,", "{value: .nan,"), "must be a positive number, not nan"),
        (lambda text: text + "\ncolour: red\n", "colour: unknown key"),
        (lambda text: text.replace("kind: gpu", "kind: [gpu"), "not valid YAML"),
    ],
    ids=["object", "bomb", "nested", "empty", "text", "schema", "no peak", "negative", "nan", "unknown key", "syntax"],
)
def test_a_bad_profile_is_refused_with_file_and_key(
    refused: Callable[..., str], tmp_path: Path, change: Callable[[str], str], message: str
) -> None:
    path = profile(tmp_path, change)
    line = refused("analyze", "resnet18", "--hw", path)
    assert message in line
    assert f"{path}" in line


def test_a_huge_profile_is_refused_unread(refused: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    with path.open("wb") as file:
        file.truncate(100_000_000)
    assert "has 100000000 bytes; a profile has at most 1000000" in refused("analyze", "resnet18", "--hw", str(path))


def test_a_missing_profile_and_a_folder_are_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    assert "no such file" in refused("analyze", "resnet18", "--hw", str(tmp_path / "none.yaml"))
    assert "is a folder" in refused("analyze", "resnet18", "--hw", str(tmp_path / "folder.yaml"))


# --- the user's code ---------------------------------------------------------------------------------------------------


FORWARD = """
import torch
class Net(torch.nn.Module):
    def forward(self, x): return step(x)
build = Net
def step(x): """


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def build(): raise ValueError('no weights\\nat all')", "net.py:build failed: ValueError: no weights"),
        ("def build(: pass", "net.py:build failed: SyntaxError: "),
        ("import sys\ndef build(): sys.exit(0)", "net.py:build failed: its code called exit(0)"),
        ("raise SystemExit('bye')", "net.py:build failed: its code called exit('bye')"),
        ("import no_such_module", "net.py:build failed: No module named 'no_such_module'"),
        ("def build(): return None", "net.py:build returned NoneType, not a torch.nn.Module"),
        ("def build(a, b): pass", "net.py:build failed: TypeError: "),
        ("build = 3", "net.py:build failed: TypeError: "),
        ("def other(): pass", "has no 'build'; it defines other"),
        ("def build(): return build()", "net.py:build failed: RecursionError: "),
        ("import torch\ndef build(): return torch.nn.Identity()", "net.py:build runs no kernel"),
        (FORWARD + "raise KeyError('x')", "net.py:build failed on an input of 3x224x224"),
        (FORWARD + "exit(3)", "net.py:build failed: its code called exit(3)"),
        (FORWARD + "return x[x > 0]", "its code reads the values of a tensor"),
    ],
)
def test_code_that_fails_is_named_with_its_error(refused: Callable[..., str], tmp_path: Path, code: str, message: str) -> None:
    (tmp_path / "net.py").write_text(code)
    assert message in refused("analyze", f"{tmp_path}/net.py:build", *T4, "--json")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("none.py:build", "unknown model file 'none.py': no such file"),
        ("none.pt2", "unknown model file 'none.pt2': no such file"),
        (".:build", "'.'"),
        ("no_such_package.net:build", "no module named 'no_such_package'"),
        ("none.py:", "no such file"),
        ("..", "unknown model '..'"),
    ],
)
def test_a_model_that_is_nowhere_is_refused(refused: Callable[..., str], model: str, message: str) -> None:
    assert message in refused("analyze", model, *T4)


def test_a_file_that_is_no_program_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "bad.pt2").write_bytes(b"PK\x03\x04 nonsense")
    assert "as an exported program" in refused("analyze", str(tmp_path / "bad.pt2"), *T4)
    (tmp_path / "folder.py").mkdir()
    assert "no such file" in refused("analyze", f"{tmp_path}/folder.py:build", *T4)


# --- output files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("report.pdf", "cannot write 'report.pdf': unknown suffix '.pdf'; use .json, .csv, .md, .html"),
        ("report", "unknown suffix ''"),
        ("", "unknown suffix ''"),
        ("missing/report.html", "cannot write 'missing/report.html': No such file or directory"),
        ("/dev/null/report.html", "cannot write '/dev/null/report.html': Not a directory"),
        ("../here.html", "cannot write '../here.html': Is a directory"),
        (f"{'x' * 300}.html", "File name too long"),
    ],
)
def test_what_cannot_be_written_is_refused(refused: Callable[..., str], tmp_path: Path, file: str, message: str) -> None:
    (tmp_path / "here.html").mkdir()
    assert message in refused("analyze", "resnet18", *T4, "-o", file)


# --- as a process ------------------------------------------------------------------------------------------------------


def test_a_process_fails_as_the_function_does() -> None:
    done = subprocess.run([sys.executable, "-m", "roofline", "analyze", "resnet18", "--hw", "t5"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: unknown hardware 't5'; did you mean t4?")
    assert done.stderr.count("\n") == 1


def test_an_interrupt_ends_in_one_line_and_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time\ndef build():\n    print('building', flush=True)\n    time.sleep(60)\n")
    arguments = [sys.executable, "-m", "roofline", "analyze", f"{tmp_path}/slow.py:build", *T4, "-o", f"{tmp_path}/report.html"]
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=interruptible,
    )  # fmt: skip
    assert process.stderr is not None
    assert process.stderr.readline() == "building\n"  # what the user's code prints is no part of the report
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err.strip()) == (2, "", "error: interrupted")
    assert [path.name for path in tmp_path.iterdir()] == ["slow.py"]
