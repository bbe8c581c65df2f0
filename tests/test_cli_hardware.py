"""The commands `hardware list`, `hardware show` and `hardware check`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from roofline.cli import root
from roofline.costmodel.hardware import load_hardware, names
from roofline.errors import ProfileError, UnknownNameError

BUNDLED = Path(load_hardware("t4").file).parent


@pytest.fixture(autouse=True)
def _no_user_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ROOFLINE_HARDWARE", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def run(*arguments: str) -> Result:
    """Run `hardware` with *arguments*, letting errors through as the main command would see them."""
    return CliRunner().invoke(root, ["hardware", *arguments])


def test_list_names_every_device_within_80_columns() -> None:
    lines = run("list").output.splitlines()
    assert [line.split()[0] for line in lines[1 : 1 + len(names())]] == list(names())
    assert max(map(len, lines)) <= 80


def test_list_states_the_units_in_its_header() -> None:
    header, *rows = run("list").output.splitlines()
    assert header.split() == ["name", "kind", "fp32", "TFLOP/s", "fp16", "TFLOP/s", "DRAM", "GB/s", "memory", "GB", "USD/h"]
    t4 = next(row for row in rows if row.startswith("t4 "))
    assert t4.split() == ["t4", "gpu", "8.14", "65.1", "320", "15.8", "0.526"]


def test_list_shows_a_dash_for_what_a_device_lacks() -> None:
    row = next(line for line in run("list").output.splitlines() if line.startswith("xeon-8124m"))
    assert row.split()[3] == "-"
    assert row.split()[-1] == "-"


def test_list_as_json_is_in_base_units() -> None:
    devices = {device["id"]: device for device in json.loads(run("list", "--json").output)}
    assert tuple(devices) == names()
    assert devices["t4"]["peak_flops_per_s"]["fp16"] == pytest.approx(65.1e12, rel=1e-3)
    assert devices["t4"]["bandwidth_bytes_per_s"] == 320e9
    assert devices["c5.2xlarge"]["peak_flops_per_s"]["fp16"] is None


def test_list_imports_little() -> None:
    code = (
        "import sys; from roofline.cli.hardware import command; command(['list'], standalone_mode=False);"
        "print({'rich', 'numpy', 'torch', 'pandas', 'roofline.costmodel.plausibility'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "set()"


def test_show_keeps_datasheet_and_ceiling_apart() -> None:
    output = run("show", "t4").output
    line = next(line for line in output.splitlines() if line.startswith("fp32 vector"))
    assert "8.14 TFLOP/s" in line
    assert "7.17 TFLOP/s" in line
    assert "4.30 TFLOP/s" in line
    assert "unsupported: tf32, bf16, fp8, fp4" in output


@pytest.mark.parametrize("name", [*names(), "host", "cpu"])
def test_show_fits_80_columns_and_resolves_every_source(name: str) -> None:
    output = run("show", name).output
    device = load_hardware(name)
    assert max(map(len, output.splitlines())) <= 80
    assert all(f"\n[{source.key}] " in output for source in device.sources)
    assert all(f"[{figure.source}]" in output for _, figure in device.figures())


def test_show_prints_the_notes() -> None:
    assert "- `cpu` means c5.2xlarge" in run("show", "cpu").output


def test_show_finds_an_alias_and_a_file() -> None:
    assert run("show", "Tesla T4").output == run("show", "t4").output
    assert "(t4)" in run("show", str(BUNDLED / "t4.yaml")).output


def test_show_as_json_has_every_figure_with_its_source() -> None:
    device = json.loads(run("show", "v100", "--json").output)
    assert device["engines"][0]["ceiling_source"]["source"] == "nersc"
    assert device["memory"][0]["peak"] == 900e9
    assert device["overheads"]["host_op_source"]["value"] == pytest.approx(50e-6)


def test_show_of_an_unknown_name_raises_for_the_main_command() -> None:
    assert isinstance(run("show", "t5").exception, UnknownNameError)


def test_show_of_a_broken_file_raises_for_the_main_command(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("schema: [")
    assert isinstance(run("show", str(tmp_path / "broken.yaml")).exception, ProfileError)


def test_check_of_good_profiles_exits_with_0() -> None:
    result = run("check", *(str(path) for path in sorted(BUNDLED.glob("*.yaml"))))
    assert result.exit_code == 0
    assert "t4.yaml: 0 errors, 0 warnings" in result.output


def test_check_of_an_overlong_path_is_a_finding() -> None:
    assert "cannot be read: File name too long" in run("check", "x" * 5000).output


def test_check_takes_a_name() -> None:
    assert run("check", "t4").output == "t4: 0 errors, 0 warnings\n"


def test_check_prints_findings_and_exits_with_2(tmp_path: Path) -> None:
    path = tmp_path / "t4.yaml"
    path.write_text((BUNDLED / "t4.yaml").read_text().replace("value: 8.141", "value: 16.28"))
    result = run("check", str(path), "v100")
    assert result.exit_code == 2
    assert "error: engines[1].peak_tflops_check: 16.28 is twice the computed 8.141 TFLOP/s" in result.output
    assert f"{path}: 1 error, 0 warnings" in result.output
    assert "v100: 0 errors, 0 warnings" in result.output


def test_check_with_warnings_only_exits_with_0(tmp_path: Path) -> None:
    path = tmp_path / "t4.yaml"
    path.write_text((BUNDLED / "t4.yaml").read_text().replace("[tf32, bf16, fp8, fp4]", "[tf32, bf16, fp8]"))
    result = run("check", str(path))
    assert result.exit_code == 0
    assert f"{path}: 0 errors, 1 warning" in result.output


def test_check_of_a_missing_file_exits_with_2(tmp_path: Path) -> None:
    result = run("check", str(tmp_path / "nothing.yaml"))
    assert result.exit_code == 2
    assert "no such file" in result.output


@pytest.mark.parametrize("name", ["list", "show", "check"])
def test_every_command_has_help_with_an_example(name: str) -> None:
    output = run(name, "--help").output
    assert "Example:" in output
    assert f"roofline hardware {name}" in output
