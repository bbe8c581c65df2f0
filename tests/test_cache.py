"""Checks that traced graphs are kept, found again without torch, and never in the way."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest
from strategies import traced, traced_cnn
from torch import nn

import roofline
from roofline.errors import RooflineError
from roofline.graph import Graph
from roofline.tracing import cache
from roofline.tracing.spec import InputSpec

NAME = "torchvision:squeezenet1_1"  # traces fast


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test an empty cache."""
    monkeypatch.setenv("ROOFLINE_CACHE", str(tmp_path / "graphs"))
    return tmp_path / "graphs"


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Run *code* in a new interpreter that finds the same packages."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen([sys.executable, "-c", code, *arguments], env=environment, stderr=subprocess.PIPE, text=True)


def small() -> Graph:
    """Return a graph worth keeping."""
    return traced_cnn(("conv", "gate"))


# --- hits ------------------------------------------------------------------------------------------------------------------


def test_a_hit_equals_the_trace() -> None:
    first = roofline.trace(NAME)
    assert cache.info().graphs == 1
    assert roofline.trace(NAME) == first == roofline.trace(NAME, cache=False)


def test_a_hit_imports_no_torch() -> None:
    roofline.trace(NAME)
    process = python(f"import sys, roofline; roofline.trace({NAME!r}); sys.exit('torch' in sys.modules or 'timm' in sys.modules)")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors


def test_a_hit_does_not_trace_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first = roofline.trace(NAME)
    monkeypatch.setattr("roofline.tracing.models.build", None)
    assert roofline.trace(NAME) == first


def test_nothing_is_kept_when_the_cache_is_off(folder: Path) -> None:
    roofline.trace(NAME, cache=False)
    assert not folder.exists()


def test_what_is_stored_loads_back() -> None:
    cache.store("entry", small())
    assert cache.load("entry") == small()


def test_an_entry_that_was_never_stored_is_none() -> None:
    assert cache.load("nothing") is None


# --- keys ------------------------------------------------------------------------------------------------------------------


def test_a_key_depends_on_everything_that_decides_the_graph() -> None:
    keys = [
        cache.key(NAME, None, None, ()),
        cache.key("resnet18", None, None, ()),
        cache.key(NAME, 256, None, ()),
        cache.key(NAME, None, 1, ()),
        cache.key(NAME, None, 256, ()),
        cache.key(NAME, None, None, (InputSpec((1, 3, 64, 64)),)),
        cache.key(NAME, None, None, (InputSpec((1, 3, 64, 64), "fp16"),)),
    ]
    assert len(set(keys)) == len(keys)
    assert cache.key(NAME, None, None, ()) == keys[0]


@pytest.mark.parametrize("package", ["torch", "timm", "torchvision"])
def test_a_key_depends_on_the_versions_of_torch_and_the_zoos(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cache.key(NAME)
    monkeypatch.setattr(cache, "version", lambda name: "0.0.1" if name == package else "1.0")
    cache._versions.cache_clear()
    try:
        changed = cache.key(NAME)
        monkeypatch.setattr(cache, "version", lambda name: "1.0")
        cache._versions.cache_clear()
        assert len({before, changed, cache.key(NAME)}) == 3
    finally:
        cache._versions.cache_clear()


@pytest.mark.parametrize("constant", ["SCHEMA", "_TRACER"])
def test_a_key_depends_on_the_version_of_the_form_and_of_the_recorder(constant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cache.key(NAME)
    monkeypatch.setattr(cache, constant, 99)
    assert cache.key(NAME) != before


def test_another_image_size_is_another_graph() -> None:
    assert roofline.trace(NAME).inputs[0].shape == (1, 3, 224, 224)
    assert roofline.trace(NAME, image_size=64).inputs[0].shape == (1, 3, 64, 64)
    assert cache.info().graphs == 2


def test_the_key_of_an_exported_program_depends_on_its_bytes(tmp_path: Path) -> None:
    file = tmp_path / "net.pt2"
    keys = set()
    for content in (b"one", b"two"):
        file.write_bytes(content)
        keys.add(cache.key(str(file)))
    assert len(keys) == 2


def test_the_graphs_of_user_code_are_not_kept(tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    file.write_text("import torch\ndef build():\n    return torch.nn.Conv2d(3, 4, 3)\n")
    before = roofline.trace(f"{file}:build", image_size=32)
    file.write_text("import torch\ndef build():\n    return torch.nn.Conv2d(3, 8, 3)\n")
    assert roofline.trace(f"{file}:build", image_size=32).params == 2 * before.params
    assert [path.name for path in tmp_path.iterdir()] == ["net.py"]
    assert cache.info().graphs == 0


# --- damage ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        lambda good: good[:100],
        lambda good: b"",
        lambda good: b"no gzip",
        lambda good: gzip.compress(b"no json"),
        lambda good: gzip.compress(b"{}"),
        lambda good: gzip.compress(gzip.decompress(good).replace(b'"schema":1', b'"schema":0')),
        lambda good: gzip.compress(gzip.decompress(good).replace(b'"tensors"', b'"tonsers"')),
        lambda good: gzip.compress(b"\xff\xfe"),
        lambda good: good[:20] + b"\0\0\0\0" + good[24:],
    ],
    ids=["truncated", "empty", "not gzip", "not json", "no graph", "old schema", "lacks a key", "not text", "flipped bytes"],
)
def test_a_damaged_entry_is_dropped_and_traced_again(damage: object, folder: Path) -> None:
    first = roofline.trace(NAME)
    (file,) = folder.glob("*.json.gz")
    file.write_bytes(damage(file.read_bytes()))  # type: ignore[operator]
    assert cache.load(file.name.removesuffix(".json.gz")) is None
    assert not file.exists()
    assert roofline.trace(NAME) == first
    assert cache.info().graphs == 1


@pytest.mark.parametrize("sub", ["", "/deeper"])
def test_a_folder_that_cannot_be_written_only_means_that_nothing_is_kept(sub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    monkeypatch.setenv("ROOFLINE_CACHE", f"{file}{sub}")
    assert roofline.trace(NAME).params == 1_235_496
    assert cache.info().graphs == 0
    assert cache.clear().graphs == 0


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_write_that_fails_leaves_nothing_behind(error: type[BaseException], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> bytes:
        raise error

    monkeypatch.setattr(cache.gzip, "compress", fail)
    if error is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt):
            cache.store("entry", small())
    else:
        cache.store("entry", small())
    assert list(folder.iterdir()) == []


def test_a_failed_write_keeps_what_was_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.store("entry", small())
    with monkeypatch.context() as patch:
        patch.setattr(cache.gzip, "compress", lambda *a, **k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            cache.store("entry", traced(nn.ReLU(), (1, 3)))
    assert cache.load("entry") == small()
    assert [file.name for file in folder.iterdir()] == ["entry.json.gz"]


WRITER = """
import sys
from roofline.graph import Graph
from roofline.tracing import cache
graph = Graph.from_json(open(sys.argv[1]).read())
for _ in range(40):
    cache.store("entry", graph)
    assert cache.load("entry") == graph
"""


def test_two_processes_that_write_the_same_entry_never_leave_half_of_it(tmp_path: Path, folder: Path) -> None:
    source = tmp_path / "graph.json"
    source.write_text(small().to_json())
    writers = [python(WRITER, str(source)) for _ in range(2)]
    errors = [writer.communicate(timeout=60)[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0], errors
    assert [file.name for file in folder.iterdir()] == ["entry.json.gz"]
    assert cache.load("entry") == small()


# --- size ----------------------------------------------------------------------------------------------------------------------


def kept(folder: Path) -> list[str]:
    """Name the entries that are there."""
    return sorted(file.name.removesuffix(".json.gz") for file in folder.glob("*.json.gz"))


def fill(folder: Path, *entries: str) -> int:
    """Store entries, each used a minute after the last one, the last an hour ago; return the size of one."""
    for i, entry in enumerate(entries):
        cache.store(entry, small())
        os.utime(folder / f"{entry}.json.gz", (1e9 + 60 * i, 1e9 + 60 * i))
    return (folder / f"{entries[0]}.json.gz").stat().st_size


def test_the_least_recently_used_entries_go_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = fill(folder, "a", "b", "c", "d")
    monkeypatch.setenv("ROOFLINE_CACHE_LIMIT", str(3 * size))
    cache.store("e", small())
    assert kept(folder) == ["c", "d", "e"]
    assert cache.info().size <= 3 * size


def test_reading_an_entry_makes_it_recent(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = fill(folder, "a", "b", "c")
    cache.load("a")
    monkeypatch.setenv("ROOFLINE_CACHE_LIMIT", str(2 * size))
    cache.store("d", small())
    assert kept(folder) == ["a", "d"]


def test_an_entry_larger_than_the_limit_is_not_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOFLINE_CACHE_LIMIT", "10")
    cache.store("a", small())
    assert kept(folder) == []


def test_a_limit_that_is_no_number_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOFLINE_CACHE_LIMIT", "lots")
    assert cache.info().limit == 536_870_912


def test_info_counts_graphs_and_bytes(folder: Path) -> None:
    assert cache.info() == cache.CacheInfo(folder, 0, 0, 536_870_912)
    size = fill(folder, "a", "b")
    assert cache.info() == cache.CacheInfo(folder, 2, 2 * size, 536_870_912)


def test_clearing_deletes_every_graph_and_tells_what_there_was(folder: Path) -> None:
    fill(folder, "a", "b")
    (folder / "notes.txt").write_text("mine")
    (folder / "killed.tmp").write_text("half a gr")
    assert cache.clear().graphs == 2
    assert cache.info().graphs == 0
    assert not (folder / "killed.tmp").exists()
    assert (folder / "notes.txt").exists()


def test_the_folder_is_in_the_users_cache_unless_the_environment_says_otherwise(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache.folder() == folder
    monkeypatch.delenv("ROOFLINE_CACHE")
    monkeypatch.setenv("HOME", "/nowhere")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache.folder().parts[-2:] == ("roofline", "graphs")


def test_an_error_is_not_kept(folder: Path) -> None:
    with pytest.raises(RooflineError):
        roofline.trace("torchvision:fcn_resnet50")  # needs an input
    assert kept(folder) == []
