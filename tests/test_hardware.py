"""Hardware: the bundled profiles, the lookup by name, hostile files, plausibility, and detection of this machine."""

import os
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from roofline.costmodel.device import DTYPES, Hardware
from roofline.costmodel.hardware import load_hardware, names
from roofline.costmodel.host import detect
from roofline.costmodel.plausibility import Finding, check
from roofline.costmodel.profile import convert, nodes
from roofline.costmodel.profile.document import open_document
from roofline.errors import ProfileError, UnknownNameError, UnsupportedError

BUNDLED = Path(load_hardware("t4").file).parent

FP32_RATE = "{value: 128, kind: datasheet, src: nvtur}"
FP32_KEY = "engines[1].per_clock_per_unit"

EXPECTED = [
    "a100-40gb",
    "a100-80gb",
    "a10g",
    "c5.18xlarge",
    "c5.2xlarge",
    "c5.4xlarge",
    "c5.9xlarge",
    "c5.xlarge",
    "epyc-genoa",
    "h100",
    "h200",
    "i7-12700h",
    "i9-10940x",
    "l4",
    "rtx-pro-6000-maxq",
    "rtx3090",
    "rtx4090",
    "rtx5090",
    "t4",
    "v100",
    "v100-pcie",
    "xeon-8124m",
    "xeon-e5-2690",
]


@pytest.fixture(autouse=True)
def _no_user_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ROOFLINE_HARDWARE", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def user_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Point the user's configuration folder into *tmp_path*, on any platform."""
    monkeypatch.setattr("platformdirs.user_config_dir", lambda name: str(tmp_path / "config" / name))
    folder = tmp_path / "config" / "roofline" / "hardware"
    folder.mkdir(parents=True)
    return folder


def edited(tmp_path: Path, old: str, new: str, name: str = "t4") -> Path:
    """Copy a bundled profile into *tmp_path* with one passage replaced."""
    text = (BUNDLED / f"{name}.yaml").read_text()
    assert text.count(old) >= 1, f"{old!r} is not in {name}.yaml"
    path = tmp_path / f"{name}.yaml"
    path.write_text(text.replace(old, new, 1))
    return path


def line_of(path: Path, text: str) -> int:
    """Find the line of the first occurrence of *text*."""
    return path.read_text().split(text)[0].count("\n") + 1


# --- the bundled profiles ---------------------------------------------------------------------------------------------


def test_every_promised_device_ships() -> None:
    assert set(EXPECTED) <= set(names())
    assert list(names()) == sorted(names())


@pytest.mark.parametrize("name", EXPECTED)
def test_bundled_profile_is_plausible(name: str) -> None:
    assert [str(finding) for finding in check(BUNDLED / f"{name}.yaml")] == []


@pytest.mark.parametrize("name", EXPECTED)
def test_every_figure_of_a_bundled_profile_names_a_listed_source(name: str) -> None:
    device = load_hardware(name)
    known = {source.key for source in device.sources}
    assert {figure.source for _, figure in device.figures()} <= known
    assert device.price is None or device.price.source in known


@pytest.mark.parametrize("name", EXPECTED)
def test_every_dtype_has_an_engine_or_is_declared_unsupported(name: str) -> None:
    device = load_hardware(name)
    assert {dtype for dtype in DTYPES if device.supports(dtype)} | set(device.unsupported) == set(DTYPES)


@pytest.mark.parametrize("name", EXPECTED)
def test_figures_that_nobody_verified_surface_as_a_note(name: str) -> None:
    device = load_hardware(name)
    kinds = {figure.kind for _, figure in device.figures()}
    assert ("recalled" in kinds) == any(note.startswith("recalled") for note in device.notes)
    assert ("assumed" in kinds) == any(note.startswith("assumed") for note in device.notes)


@pytest.mark.parametrize("name", EXPECTED)
def test_caches_are_smaller_than_dram_and_dram_comes_first(name: str) -> None:
    device = load_hardware(name)
    assert device.memory[0].name == "dram"
    assert all(level.size < device.memory_size for level in device.memory[1:])


@pytest.mark.parametrize(
    ("name", "kind", "dtype", "tera"),
    [
        ("t4", "vector", "fp32", 8.141),
        ("t4", "vector", "fp16", 16.28),
        ("t4", "matrix", "fp16", 65.1),
        ("t4", "matrix", "int8", 130.3),
        ("v100", "vector", "fp32", 15.67),
        ("v100", "matrix", "fp16", 125.3),
        ("v100", "vector", "int8", 62.67),
        ("v100-pcie", "matrix", "fp16", 113.0),
        ("a100-80gb", "matrix", "tf32", 155.9),
        ("a100-40gb", "matrix", "bf16", 311.9),
        ("h100", "vector", "fp32", 66.9),
        ("h100", "matrix", "fp16", 989.4),  # the headline of 1979 is sparse
        ("h200", "matrix", "fp8", 1978.9),
        ("l4", "vector", "fp32", 30.29),
        ("l4", "matrix", "fp16", 121.2),  # the headline of 242 is sparse
        ("a10g", "matrix", "fp16", 70.0),
        ("rtx3090", "matrix", "fp16", 71.2),  # fp32 accumulation at half rate
        ("rtx4090", "matrix", "fp16", 165.2),
        ("rtx5090", "matrix", "fp16", 209.5),
        ("c5.2xlarge", "vector", "fp32", 0.768),
        ("c5.18xlarge", "vector", "fp32", 6.912),
        ("i9-10940x", "vector", "fp32", 3.136),
        ("epyc-genoa", "vector", "fp32", 11.37),
    ],
)
def test_computed_peak_is_the_published_one(name: str, kind: str, dtype: str, tera: float) -> None:
    engine = next(e for e in load_hardware(name).engines if (e.kind, e.dtype) == (kind, dtype))
    assert engine.peak == pytest.approx(tera * 1e12, rel=2e-3)


def test_t4_keeps_datasheet_ceiling_and_sustained_rates_apart() -> None:
    t4 = load_hardware("t4")
    fp32, fp16 = t4.matmul_engine("fp32"), t4.matmul_engine("fp16")
    assert (fp32.ceiling, fp32.sustained) == (7.17e12, 4.3e12)
    assert fp16.ceiling == 41.6e12
    assert t4.vector_engine("fp16").ceiling == pytest.approx(0.88 * 16.2816e12)
    assert (t4.clock, t4.sustained_clock) == (1.59e9, 0.9e9)
    assert (t4.bandwidth, t4.memory[0].copy, t4.memory[1].read) == (320e9, 240e9, 1270e9)
    assert t4.overheads.host_op == pytest.approx(50e-6)


def test_measured_patterns_of_memory_stay_apart() -> None:
    dram = load_hardware("v100-pcie").memory[0]
    assert (dram.read, dram.write, dram.copy) == (867e9, 897e9, 766e9)


def test_launch_overheads_are_in_seconds() -> None:
    overheads = load_hardware("a100-40gb").overheads
    assert (overheads.launch, overheads.graph) == pytest.approx((2.6e-6, 1.3e-6))
    assert overheads.launch_source.kind == "measured"


def test_a_parallel_region_takes_longer_with_more_cores() -> None:
    found = {size: load_hardware(f"c5.{size}").overheads for size in ("xlarge", "2xlarge", "18xlarge")}
    assert [o.launch for o in found.values()] == pytest.approx([2.1e-6, 2.5e-6, 8.9e-6])
    assert [o.compiled for o in found.values()] == pytest.approx([19.96e-6, 20.62e-6, 31.18e-6])
    assert "1.7 us + 0.2 us x 36 core" in found["18xlarge"].launch_source.note
    assert len({o.host_op for o in found.values()}) == 1


@pytest.mark.parametrize(
    ("name", "cores", "gib", "read"),
    [
        ("c5.xlarge", 2, 8, 25.8e9),
        ("c5.2xlarge", 4, 16, 51.6e9),
        ("c5.9xlarge", 18, 72, 118e9),
        ("c5.18xlarge", 36, 144, 236e9),
    ],
)
def test_instance_scales_the_processor_it_is_cut_from(name: str, cores: int, gib: int, read: float) -> None:
    device = load_hardware(name)
    assert (device.units, device.memory_size) == (cores, gib * 2**30)
    assert device.memory[0].read == pytest.approx(read)
    assert device.level("l3") is not None
    assert device.level("l3").size == cores * 1441792  # type: ignore[union-attr]


def test_instance_inherits_engines_but_not_aliases() -> None:
    base, instance = load_hardware("xeon-8124m"), load_hardware("c5.2xlarge")
    assert [engine.dtype for engine in instance.engines] == [engine.dtype for engine in base.engines]
    assert instance.aliases == ()
    assert instance.price is not None
    assert base.price is None


# --- what a Hardware answers --------------------------------------------------------------------------------------------


def test_matmul_takes_the_matrix_engine_if_there_is_one() -> None:
    assert load_hardware("t4").matmul_engine("fp16").kind == "matrix"
    assert load_hardware("t4").matmul_engine("fp32").kind == "vector"
    assert load_hardware("v100").matmul_engine("int8").name == "dp4a"


def test_elementwise_work_takes_the_vector_engine_of_its_dtype_or_fp32() -> None:
    a100 = load_hardware("a100-80gb")
    assert a100.vector_engine("fp16").dtype == "fp16"
    assert a100.vector_engine("tf32").dtype == "fp32"


def test_missing_dtype_is_an_error_that_names_the_others() -> None:
    with pytest.raises(UnsupportedError) as error:
        load_hardware("t4").matmul_engine("bf16")
    assert str(error.value) == "t4 has no bf16 unit; use one of fp32, fp16, int8, int4"


def test_ridge_is_peak_over_datasheet_bandwidth() -> None:
    t4 = load_hardware("t4")
    assert t4.ridge("fp32") == pytest.approx(8.1408e12 / 320e9)
    assert t4.ridge("fp16") == pytest.approx(203.5, rel=1e-3)


def test_hardware_is_immutable_and_slotted() -> None:
    t4 = load_hardware("t4")
    with pytest.raises(FrozenInstanceError):
        t4.units = 41  # type: ignore[misc]
    assert not hasattr(t4, "__dict__")
    assert hash(t4) == hash(load_hardware("t4"))


def test_lookup_by_name_loads_neither_numpy_nor_torch() -> None:
    code = "import sys; from roofline.costmodel.hardware import load_hardware; load_hardware('t4'); print('numpy' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_import_of_hardware_loads_neither_pydantic_nor_yaml() -> None:
    code = "import sys, roofline.costmodel.hardware; print({'pydantic', 'yaml', 'click'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


# --- lookup ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["t4", "T4", " t4 ", "Tesla T4", "tesla t4", "NVIDIA T4"])
def test_name_is_found_in_any_case_and_by_alias(name: str) -> None:
    assert load_hardware(name).id == "t4"


def test_hardware_passes_through() -> None:
    t4 = load_hardware("t4")
    assert load_hardware(t4) is t4


def test_second_load_is_the_same_object() -> None:
    assert load_hardware("v100") is load_hardware("v100")


def test_changed_file_is_read_again(tmp_path: Path) -> None:
    path = edited(tmp_path, "NVIDIA T4 16 GB", "NVIDIA T4 16 GB")
    first = load_hardware(path)
    path.write_text(path.read_text().replace("name: NVIDIA T4 16 GB", "name: another 16 GB"))
    os.utime(path, ns=(1, 1))
    assert (first.name, load_hardware(path).name) == ("NVIDIA T4 16 GB", "another 16 GB")


def test_cpu_means_c5_2xlarge_and_says_so() -> None:
    device = load_hardware("cpu")
    assert device.id == "c5.2xlarge"
    assert device.notes[0].startswith("`cpu` means c5.2xlarge")


def test_unknown_name_suggests_and_lists() -> None:
    with pytest.raises(UnknownNameError) as error:
        load_hardware("t5")
    message = str(error.value)
    assert message.startswith("unknown hardware 't5'; did you mean t4? known: a100-40gb, ")
    assert message.endswith("; or pass a YAML file")


def test_unlike_name_gets_no_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="unknown hardware 'qqqqqqqq'; known: a100-40gb"):
        load_hardware("qqqqqqqq")


@pytest.mark.parametrize("as_text", [True, False])
def test_path_is_loaded_and_its_stem_is_the_id(tmp_path: Path, as_text: bool) -> None:
    path = tmp_path / "my-card.yaml"
    path.write_text((BUNDLED / "t4.yaml").read_text())
    assert load_hardware(str(path) if as_text else path).id == "my-card"


def test_environment_folder_comes_before_the_bundled_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edited(tmp_path, "name: NVIDIA T4 16 GB", "name: my T4 16 GB")
    monkeypatch.setenv("ROOFLINE_HARDWARE", str(tmp_path))
    assert load_hardware("t4").name == "my T4 16 GB"
    assert load_hardware("v100").name == "NVIDIA V100 SXM2 16 GB"


def test_environment_folder_that_does_not_exist_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOFLINE_HARDWARE", "/nowhere")
    with pytest.raises(ProfileError, match="ROOFLINE_HARDWARE=/nowhere: no such folder"):
        load_hardware("t4")


def test_user_folder_is_searched_and_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = user_folder(monkeypatch, tmp_path)
    (folder / "mine.yaml").write_text((BUNDLED / "t4.yaml").read_text())
    assert load_hardware("mine").id == "mine"
    assert "mine" in names()


def test_host_profile_of_the_user_replaces_detection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = user_folder(monkeypatch, tmp_path)
    (folder / "host.yaml").write_text((BUNDLED / "i9-10940x.yaml").read_text())
    assert load_hardware("host").name == "Intel Core i9-10940X, 14 cores"


def test_broken_file_beside_does_not_hide_an_alias(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = user_folder(monkeypatch, tmp_path)
    (folder / "broken.yaml").write_text("schema: [")
    assert load_hardware("Tesla T4").id == "t4"


@pytest.mark.parametrize("name", ["", "..", "t4\0", "x" * 5000, "💥"])
def test_odd_name_is_unknown(name: str) -> None:
    with pytest.raises(UnknownNameError):
        load_hardware(name)


@pytest.mark.parametrize("name", ["a\0.yaml", "x" * 5000 + ".yaml", "../nowhere/", "/"])
def test_odd_path_is_a_profile_error(name: str) -> None:
    with pytest.raises(ProfileError):
        load_hardware(name)


# --- inheritance -----------------------------------------------------------------------------------------------------------


def instance(tmp_path: Path, base: str) -> Path:
    """Write a profile that inherits from *base*, beside a copy of the T4."""
    (tmp_path / "t4.yaml").write_text((BUNDLED / "t4.yaml").read_text())
    path = tmp_path / "child.yaml"
    path.write_text(f"schema: 1\nbase: {base}\nname: half a T4\nunits: {{count: 20, name: SM, kind: derived, src: jia19}}\n")
    return path


def test_child_overrides_and_keeps_the_rest(tmp_path: Path) -> None:
    child = load_hardware(instance(tmp_path, "t4"))
    assert (child.name, child.units) == ("half a T4", 20)
    assert child.engine("fp32", "vector").peak == pytest.approx(20 * 128 * 1.59e9)  # type: ignore[union-attr]
    assert child.bandwidth == 320e9


@pytest.mark.parametrize("base", ["../t4", "/etc/passwd", "t4/../t4", "[t4]", "''", ".."])
def test_base_must_be_a_bare_name(tmp_path: Path, base: str) -> None:
    with pytest.raises(ProfileError, match=r"child.yaml:2: base: must be the bare name"):
        load_hardware(instance(tmp_path, base))


def test_base_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"child.yaml:2: base: there is no .*nothing.yaml"):
        load_hardware(instance(tmp_path, "nothing"))


def test_inheritance_has_one_level_so_no_cycle_is_possible(tmp_path: Path) -> None:
    path = instance(tmp_path, "child")
    with pytest.raises(ProfileError, match="child has a base itself"):
        load_hardware(path)


def test_problem_in_an_inherited_part_points_at_the_base_file(tmp_path: Path) -> None:
    path = instance(tmp_path, "t4")
    base = edited(tmp_path, "value: 1024,", "value: fast,")
    with pytest.raises(ProfileError, match=rf"t4\.yaml:{line_of(base, 'value: fast')}: engines\[3\]"):
        load_hardware(path)


# --- files that must be refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "key", "message"),
    [
        (FP32_RATE, "fast", FP32_KEY, "must be a positive number, not 'fast'; give FLOP per clock"),
        (FP32_RATE, "128", FP32_KEY, "must be a mapping: {value: 128, kind: datasheet, src: ...}"),
        ("value: 128,", "value: fast,", f"{FP32_KEY}.value", "must be a positive number, not 'fast'"),
        ("value: 128,", "value: -128,", f"{FP32_KEY}.value", "must be a positive number, not -128"),
        ("value: 128,", "value: 0,", f"{FP32_KEY}.value", "must be a positive number, not 0"),
        ("value: 128,", "value: .nan,", f"{FP32_KEY}.value", "must be a positive number, not nan"),
        ("value: 128,", "value: .inf,", f"{FP32_KEY}.value", "must be a positive number, not inf"),
        ("value: 128,", "value: 1e400,", f"{FP32_KEY}.value", "must be a positive number, not inf"),
        ("value: 128,", f"value: {'9' * 5000},", f"{FP32_KEY}.value", "must be a positive number, not inf"),
        ("value: 128,", "value: 1e300,", f"{FP32_KEY}.value", "is too large: 1e+300"),
        ("value: 128,", "value: true,", f"{FP32_KEY}.value", "must be a positive number, not True"),
        ("value: 128,", "value: '128',", f"{FP32_KEY}.value", "must be a positive number, not '128'"),
        (FP32_RATE, "{value: 128, kind: datasheet}", f"{FP32_KEY}.src", "is missing"),
        (FP32_RATE, "{value: 128, kind: guessed, src: nvtur}", f"{FP32_KEY}.kind", "must be 'datasheet', 'derived', 'measured',"),
        ("count: 40,", "count: 40.5,", "units.count", "must be a positive whole number, not 40.5"),
        ("kind: vector", "kind: scalar", "engines[0].kind", "must be 'matrix' or 'vector', not 'scalar'"),
        ("schema: 1", "schema: 2", "schema", "must be 1, not 2"),
        ("architecture: turing", "architecture: 7", "architecture", "must be text, not 7"),
        ("unsupported: [tf32, bf16, fp8, fp4]", "unsupported: tf32", "unsupported", "must be a list, not 'tf32'"),
        ("segment: datacenter", "segmant: datacenter", "segmant", "unknown key; did you mean segment?"),
        ("fraction: 0.88", "fractoin: 0.88", "engines[2].ceiling.fractoin", "unknown key; did you mean fraction?"),
        ("tflops: 7.17,", "tflops: 7.17, fraction: 0.5,", "engines[1].ceiling", "give exactly one of tflops, fraction"),
        ("dtype: fp32", "dtype: fp64", "", "engines: a vector engine for fp32 is missing"),
        ("name: hfma2\n    dtype: fp16", "name: hfma2\n    dtype: fp32", "", "engines: vector fp32 is listed twice; keep one"),
        ("  boost: {", "  turbo: {", "", "clock_ghz: boost is missing; give it in GHz"),
        ("level: dram", "level: hbm", "", "memory: the first level must be dram"),
    ],
)  # fmt: skip
def test_wrong_value_is_an_error_with_file_line_and_key(tmp_path: Path, old: str, new: str, key: str, message: str) -> None:
    path = edited(tmp_path, old, new)
    messages = [str(problem) for problem in open_document(path).problems]
    assert any(text.startswith(str(path)) and f": {key}: {message}"[0 if key else 2 :] in text for text in messages), messages
    with pytest.raises(ProfileError):
        load_hardware(path)


def test_error_names_the_line_of_the_value(tmp_path: Path) -> None:
    path = edited(tmp_path, "value: 1024,", "value: fast,")
    expected = f"{path}:{line_of(path, 'value: fast')}: engines[3].per_clock_per_unit.value: must be a positive number, not 'fast'"
    with pytest.raises(ProfileError) as error:
        load_hardware(path)
    assert str(error.value).startswith(expected)


def test_missing_peak_of_dram_is_an_error(tmp_path: Path) -> None:
    path = edited(tmp_path, "    peak_gbps:", "    peak_gbps_check:")
    with pytest.raises(ProfileError, match=r"memory\[0\]: peak_gbps is missing; give the datasheet bandwidth"):
        load_hardware(path)


def test_more_than_one_problem_is_counted(tmp_path: Path) -> None:
    path = edited(tmp_path, "value: 128,", "value: -1,")
    path.write_text(path.read_text().replace("value: 1024,", "value: -1,"))
    with pytest.raises(ProfileError, match=r"\(and 1 more\)$"):
        load_hardware(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1: is empty"),
        ("just words", ":1: must be a mapping"),
        ("- a\n- b\n", ":1: must be a mapping"),
        ("schema: 1\n---\nschema: 1\n", ":2: has a second document"),
        ("schema: 1\n\tname: x\n", ":2: not valid YAML: .*; indent with spaces, not with a tab"),
        ("schema: 1\nname: [a\n", "not valid YAML"),
        ("schema: 1\nname: \x00\n", "not valid YAML"),
        ("schema: 1\nname: a\nname: b\n", ":3: name: is given twice; the first is on line 2"),
        ("schema: 1\nunits: {count: 1, count: 2}\n", ":2: units.count: is given twice"),
        ("a: &x [1]\nb: *x\n", ":1: a: anchors and aliases are refused"),
        ("b: *x\n", ":1: b: anchors and aliases are refused"),
        ("&x a: 1\n", ":1: anchors and aliases are refused"),
        ("name: !!python/object/apply:os.system ['true']\n", ":1: name: the tag .*os.system is refused"),
        ("name: !custom x\n", ":1: name: the tag !custom is refused"),
        ("? [a, b]\n: 1\n", ":1: has a key that is not plain text"),
        ("a: " + "[" * 100_000, "nested deeper than 20 levels"),
        ("a:\n  " + "- " * 50_000, "nested deeper than 20 levels"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_hostile_text_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "hostile.yaml"
    path.write_text(text)
    with pytest.raises(ProfileError, match=message):
        load_hardware(path)


def test_alias_bomb_is_refused_at_its_first_anchor(tmp_path: Path) -> None:
    levels = [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 9)]
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join(["l0: &l0 [lol]", *levels]))
    with pytest.raises(ProfileError, match=r"bomb.yaml:1: l0: anchors and aliases are refused"):
        load_hardware(path)


def test_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    with path.open("wb") as file:
        file.truncate(2_000_000_000)  # sparse: it takes no space, but reading it would take 2 GB
    with pytest.raises(ProfileError, match="has 2000000000 bytes; a profile has at most 1000000"):
        load_hardware(path)


def test_text_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"schema: 1\nname: caf\xe9\n")
    with pytest.raises(ProfileError, match=r"latin.yaml:2: is not UTF-8 text"):
        load_hardware(path)


def test_missing_file_and_folder_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(ProfileError, match=r"nothing.yaml: no such file"):
        load_hardware(tmp_path / "nothing.yaml")
    with pytest.raises(ProfileError, match=r"folder.yaml: is a folder"):
        load_hardware(tmp_path / "folder.yaml")


@pytest.mark.parametrize("text", ["a: " + "[" * 100_000, "a:\n  " + "- " * 50_000, "a: &x 1", "a: !!set {}", "\ta: 1", "a: [", ""])
def test_pure_python_loader_refuses_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(nodes, "_Loader", yaml.SafeLoader)
    (tmp_path / "hostile.yaml").write_text(text)
    with pytest.raises(ProfileError, match=r"hostile.yaml:"):
        load_hardware(tmp_path / "hostile.yaml")


def test_pure_python_loader_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = convert.read(BUNDLED / "c5.2xlarge.yaml")
    monkeypatch.setattr(nodes, "_Loader", yaml.SafeLoader)
    assert convert.read(BUNDLED / "c5.2xlarge.yaml") == expected


@given(data=st.data())
def test_no_edit_of_a_profile_raises_anything_but_a_profile_error(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    text = (BUNDLED / "t4.yaml").read_text()
    start = data.draw(st.integers(0, len(text)))
    length = data.draw(st.integers(0, 60))
    insert = data.draw(st.text(alphabet="{}[]:,-&*!?'\"#|> \n\tab01.e~", max_size=12))
    path = tmp_path_factory.mktemp("fuzz") / "t4.yaml"
    path.write_text(text[:start] + insert + text[start + length :])
    try:
        assert isinstance(load_hardware(path), Hardware)
    except ProfileError as error:
        assert str(path) in str(error)
    assert all(isinstance(finding, Finding) for finding in check(path))


# --- plausibility -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "old", "new", "level", "key", "message"),
    [
        ("t4", "128, kind: datasheet, src: nvtur", "128, kind: datasheet, src: nvutr", "error", f"{FP32_KEY}.src", "did you mean nvtur?"),
        ("t4", "128, kind: datasheet, src: nvtur", "128, kind: datasheet", "error", f"{FP32_KEY}.src", "is missing"),
        ("t4", "region: us-east-1, ", "", "error", "price.region", "is missing"),
        ("t4", ', date: "2024"', "", "error", "price.date", "must be a date"),
        ("t4", ', date: "2024"', ", date: lately", "error", "price.date", "must be a date"),
        ("t4", ', conditions: "table 3.1, 1590 MHz"', "", "error", "memory[1].measured[0]", "states no conditions"),
        ("t4", ', conditions: "cuBLAS SGEMM, cold, 1590 MHz"', "", "error", "engines[1].ceiling", "states no conditions"),
        ("t4", "[tf32, bf16, fp8, fp4]", "[tf32, bf16, fp8]", "warning", "unsupported", "fp4 have neither"),
        ("t4", "[tf32, bf16, fp8, fp4]", "[fp32, tf32, bf16, fp8, fp4]", "error", "unsupported[0]", "fp32 has an engine too"),
        ("t4", "value: 8.141", "value: 16.28", "error", "engines[1].peak_tflops_check", "twice the computed"),
        ("t4", "value: 8.141", "value: 8.9", "error", "engines[1].peak_tflops_check", "does not follow"),
        ("t4", "value: 1024,", "value: 2048,", "error", "engines[3].per_clock_per_unit", "the 2:4 sparse rate?"),
        ("h100", "value: 4096,", "value: 8192,", "error", "engines[5].per_clock_per_unit", "the 2:4 sparse rate?"),
        ("h100", "value: 989,", "value: 1979,", "error", "engines[5].peak_tflops_check", "a 2:4 sparse figure given as dense?"),
        ("t4", "value: 1024,", "value: 200,", "error", "engines[3].per_clock_per_unit", "slower than the vector engine"),
        ("t4", "tflops: 7.17", "tflops: 9.0", "error", "engines[1].ceiling", "above the peak"),
        ("t4", "value_gbps: 240", "value_gbps: 331", "error", "memory[0]", "copy of 331 GB/s is above the peak of 320"),
        ("t4", "value_gbps: 240", "value_gbps: 343.6", "error", "memory[0]", "the ratio of GiB and GB"),
        ("t4", "value_gbps: 240", "value_gbps: 257.3", "warning", "memory[0].measured[1].value_gbps", "the ratio of GiB and GB"),
        ("t4", "peak_gbps: {value: 320", "peak_gbps: {value: 343.6", "error", "memory[0].peak_gbps", "the ratio of GiB and GB"),
        ("t4", "peak_gbps: {value: 320", "peak_gbps: {value: 300", "error", "memory[0].peak_gbps", "level give 320.064"),
        ("t4", "peak_gbps: {value: 320", "peak_gbps: {value: 320000", "error", "memory[0].peak_gbps", "a factor of 1000?"),
        ("t4", "value: 15835660288", "value: 15835660", "error", "memory[0].size_bytes", "a factor of 1000?"),
        ("t4", "value: 15835660288", "value: 25835660288", "error", "memory[0].size_bytes", "are not the 16 GB of the name"),
        ("t4", "value: 15835660288", "value: 12000000000", "error", "memory[0].size_bytes", "are not the 16 GB of the name"),
        ("t4", "boost: {value: 1.59", "boost: {value: 1590", "error", "clock_ghz.boost", "MHz?"),
        ("t4", "launch: {value: 2.3", "launch: {value: 2300", "error", "overhead_us.launch", "ns or s?"),
        ("t4", "tflops: 7.17", "tflops: 0.00717", "error", "engines[1].ceiling", "a factor of 1000?"),
        ("v100-pcie", "value_gbps: 867", "value_gbps: 0.867", "error", "memory[0]", "a factor of 1000?"),
        ("t4", "value: 4194304", "value: 4000000", "warning", "memory[1].size_bytes", "cache sizes are binary"),
        ("t4", "value_gbps: 1270", "value_gbps: 127", "warning", "memory[1]", "slower than dram"),
        ("t4", "value: 128,", "value: 128000,", "error", FP32_KEY, "FLOP/B of DRAM is outside"),
    ],
)  # fmt: skip
def test_corrupted_profile_is_found_out(tmp_path: Path, device: str, old: str, new: str, level: str, key: str, message: str) -> None:
    path = edited(tmp_path, old, new, device)
    findings = [f for f in check(path) if (f.level, f.key) == (level, key) and message in f.message]
    assert findings, [str(finding) for finding in check(path)]
    assert findings[0].file == str(path)
    assert findings[0].line > 1


def test_finding_points_at_the_line_of_its_key(tmp_path: Path) -> None:
    path = edited(tmp_path, "value: 8.141", "value: 16.28")
    assert [finding.line for finding in check(path)] == [line_of(path, "value: 16.28")]


def test_card_that_boosts_above_its_rating_may_pass_its_peak(tmp_path: Path) -> None:
    path = edited(tmp_path, "    boosts_above_spec: true\n", "", "rtx3090")
    assert any("set boosts_above_spec: true" in finding.message for finding in check(path))


def test_unreadable_file_is_one_finding(tmp_path: Path) -> None:
    (finding,) = check(tmp_path / "nothing.yaml")
    assert (finding.level, finding.message) == ("error", "no such file; give a YAML profile")


def test_hardware_without_a_file_is_checked_by_its_figures() -> None:
    assert check(load_hardware("t4")) == ()
    assert all(isinstance(finding, Finding) for finding in check(load_hardware("host")))


# --- this machine -----------------------------------------------------------------------------------------------------------


def machine(
    root: Path,
    *,
    cores: int = 4,
    threads: int = 1,
    vendor: str = "GenuineIntel",
    family: int = 6,
    model: int = 85,
    name: str = "Intel(R) Xeon(R) Gold 6148 CPU @ 2.40GHz",
    flags: str = "fma avx2 avx512f",
    extra: str = "",
) -> Path:
    """Write a /proc/cpuinfo and a /proc/meminfo under *root*."""
    blocks = [
        f"processor\t: {thread * cores + core}\nvendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\n"
        f"model name\t: {name}\nphysical id\t: 0\ncore id\t\t: {core}\nflags\t\t: {flags}\n{extra}"
        for thread in range(threads)
        for core in range(cores)
    ]
    (root / "proc").mkdir()
    (root / "proc/cpuinfo").write_text("\n".join(blocks))
    (root / "proc/meminfo").write_text("MemTotal:       16384000 kB\nMemFree: 1 kB\n")
    return root


def cache(root: Path, cpu: int, index: int, level: int, size: str, shared: str, kind: str = "Unified") -> None:
    """Write one cache of one processor under /sys."""
    folder = root / f"sys/devices/system/cpu/cpu{cpu}/cache/index{index}"
    folder.mkdir(parents=True)
    for key, value in {"level": level, "type": kind, "size": size, "shared_cpu_list": shared}.items():
        (folder / key).write_text(f"{value}\n")


def test_threads_of_a_core_count_once(tmp_path: Path) -> None:
    assert detect(machine(tmp_path, cores=4, threads=2)).units == 4


@pytest.mark.parametrize(
    ("vendor", "family", "model", "name", "flags", "rate"),
    [
        ("GenuineIntel", 6, 85, "Intel(R) Xeon(R) Gold 6148 CPU", "fma avx2 avx512f", 64),
        ("GenuineIntel", 6, 85, "Intel(R) Core(TM) i9-10940X CPU", "fma avx2 avx512f", 64),
        ("GenuineIntel", 6, 140, "11th Gen Intel(R) Core(TM) i7-1165G7", "fma avx2 avx512f", 32),
        ("GenuineIntel", 6, 154, "12th Gen Intel(R) Core(TM) i7-12700H", "fma avx2", 32),
        ("GenuineIntel", 6, 45, "Intel(R) Xeon(R) CPU E5-2690 0", "avx", 16),
        ("AuthenticAMD", 23, 1, "AMD EPYC 7551", "fma avx2", 16),
        ("AuthenticAMD", 23, 49, "AMD EPYC 7742", "fma avx2", 32),
        ("AuthenticAMD", 25, 17, "AMD EPYC 9654", "fma avx2 avx512f", 32),
        ("AuthenticAMD", 25, 97, "AMD Ryzen 9 7950X", "fma avx2 avx512f", 32),
        ("AuthenticAMD", 26, 2, "AMD EPYC 9755", "fma avx2 avx512f", 64),
        ("unknown", 0, 0, "mystery", "", 16),
    ],
)
def test_instruction_set_gives_the_fp32_rate(
    tmp_path: Path, vendor: str, family: int, model: int, name: str, flags: str, rate: int
) -> None:
    host = detect(machine(tmp_path, vendor=vendor, family=family, model=model, name=name, flags=flags))
    assert host.vector_engine("fp32").per_clock == rate


def test_arm_without_a_model_name_is_neon(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nBogoMIPS\t: 50\nFeatures\t: fp asimd\n\nprocessor\t: 1\nFeatures\t: fp asimd\n")
    host = detect(tmp_path)
    assert (host.units, host.vector_engine("fp32").per_clock, host.architecture) == (2, 16, "arm64")


def test_vnni_bf16_and_amx_add_engines(tmp_path: Path) -> None:
    host = detect(machine(tmp_path, flags="fma avx2 avx512f avx512_vnni avx512_bf16 amx_bf16 amx_int8"))
    assert host.engine("int8", "vector").per_clock == 256  # type: ignore[union-attr]
    assert host.engine("bf16", "vector").per_clock == 128  # type: ignore[union-attr]
    assert host.matmul_engine("int8").name == "amx"
    assert "bf16" not in host.unsupported


def test_clock_prefers_the_maximum_frequency(tmp_path: Path) -> None:
    root = machine(tmp_path, extra="cpu MHz\t\t: 1200.000\n")
    folder = root / "sys/devices/system/cpu/cpu0/cpufreq"
    folder.mkdir(parents=True)
    (folder / "cpuinfo_max_freq").write_text("3700000\n")
    assert detect(root).clock == 3.7e9


@pytest.mark.parametrize(
    ("name", "extra", "clock"),
    [
        ("cpu @ 2.40GHz", "cpu MHz\t\t: 1200.000\nbogomips\t: 4800.00\n", 1.2e9),
        ("cpu @ 2.40GHz", "bogomips\t: 6000.00\n", 2.4e9),
        ("cpu", "bogomips\t: 6000.00\n", 3.0e9),
        ("cpu", "", 2.5e9),
    ],
)
def test_clock_falls_back_in_order(tmp_path: Path, name: str, extra: str, clock: float) -> None:
    assert detect(machine(tmp_path, name=name, extra=extra)).clock == pytest.approx(clock)


def test_shared_caches_count_once_and_private_ones_for_each_core(tmp_path: Path) -> None:
    root = machine(tmp_path, cores=2)
    for cpu in (0, 1):
        cache(root, cpu, 1, 1, "32K", str(cpu), "Instruction")
        cache(root, cpu, 2, 2, "1024K", str(cpu))
        cache(root, cpu, 4, 2, "512K", str(cpu), "Instruction")
        cache(root, cpu, 3, 3, "24M", "0-1")
    assert [(level.name, level.size) for level in detect(root).memory] == [
        ("dram", 16384000 * 1024),
        ("l3", 24 * 2**20),
        ("l2", 2 * 2**20),
    ]


@pytest.mark.parametrize(("cores", "bandwidth"), [(2, 26e9), (64, 100e9)])
def test_bandwidth_is_assumed_by_core_up_to_a_limit(tmp_path: Path, cores: int, bandwidth: float) -> None:
    dram = detect(machine(tmp_path, cores=cores)).memory[0]
    assert (dram.read, dram.read_source.kind) == (bandwidth, "assumed")


def test_silent_system_still_gives_a_device(tmp_path: Path) -> None:
    host = detect(tmp_path)
    assert host.units >= 1
    assert host.memory_size > 0
    assert host.vector_engine("fp32").peak > 0
    assert "ceilings assumed, not measured" in host.notes


def test_host_is_this_machine() -> None:
    host = load_hardware("host")
    assert (host.id, host.kind) == ("host", "cpu")
    assert {figure.source for _, figure in host.figures()} <= {source.key for source in host.sources}


def test_figure_labels_are_unique() -> None:
    labels = [label for label, _ in load_hardware("t4").figures()]
    assert len(labels) == len(set(labels))
