"""A sweep that is killed, or finds the disk full, goes on when it is asked for again and ends with the same bytes."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import joblib
import pytest
from processes import interruptible

from roofline.errors import RooflineError
from roofline.files import save
from roofline.studies.sweep.workers import _backend

PATTERN = "test_*"
"""Tiny networks of timm."""

ROOT = Path(__file__).parent.parent
PATIENCE = 600.0


def command(folder: Path, out: str, jobs: int = 2) -> list[str]:
    return [
        sys.executable, "-m", "roofline", "sweep", "--models", PATTERN, "--hw", "t4,v100,c5.2xlarge",
        "-b", "1,8", "--precision", "fp32,amp",
        "-j", str(jobs), "-o", str(folder / f"{out}.parquet"), "-o", str(folder / f"{out}.csv"),
    ]  # fmt: skip


def start(folder: Path, out: str, *, jobs: int = 2, before: Callable[[], None] | None = None) -> "subprocess.Popen[str]":
    environment = {**os.environ, "ROOFLINE_CACHE": str(folder / "cache"), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command(folder, out, jobs), env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=before,
    )  # fmt: skip


def finish(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


def parts(folder: Path) -> list[Path]:
    return list((folder / "cache" / "sweeps").rglob("*.arrow"))


def kill_at(folder: Path, wanted: int, delay: float) -> bool:
    """Start the sweep and kill it and its workers once *wanted* parts are there; tell whether it was still running."""
    process = start(folder, "killed")
    until = time.monotonic() + PATIENCE
    while len(parts(folder)) < wanted and process.poll() is None and time.monotonic() < until:
        time.sleep(0.005)
    time.sleep(delay)
    running = process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return running


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a sweep that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    code, out, err = finish(start(folder, "killed"))
    assert (code, err) == (0, "")
    assert "failed" not in out
    return folder


@pytest.fixture
def folder(tmp_path: Path, whole: Path) -> Path:
    """A place where every graph is in the cache already, as on a machine that swept before."""
    (tmp_path / "cache").mkdir()
    for path in (whole / "cache").glob("*.json.gz"):
        shutil.copy(path, tmp_path / "cache")
    return tmp_path


def same(folder: Path, whole: Path) -> bool:
    names = ("killed.parquet", "killed.csv")
    return all((folder / name).read_bytes() == (whole / name).read_bytes() for name in names)


def test_a_sweep_killed_again_and_again_ends_with_the_same_bytes(folder: Path, whole: Path) -> None:
    chance = random.Random(7)
    interrupted = [kill_at(folder, wanted, chance.uniform(0, 0.1)) for wanted in (1, 6)]
    assert interrupted[0]
    assert not list(folder.glob("killed.*")) or same(folder, whole)
    before = len(parts(folder))
    code, out, _ = finish(start(folder, "killed"))
    assert code == 0
    assert not all(interrupted) or f"{before} networks kept" in out
    assert same(folder, whole)
    assert not parts(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["cache", "killed.csv", "killed.parquet"]


@pytest.mark.slow
def test_a_sweep_killed_at_any_moment_ends_with_the_same_bytes(folder: Path, whole: Path) -> None:
    chance = random.Random(11)
    for _ in range(12):
        process = start(folder, "killed")
        time.sleep(chance.uniform(0.5, 12.0))
        os.killpg(process.pid, signal.SIGKILL) if process.poll() is None else None
        process.communicate()
        assert not (folder / "killed.csv").exists() or same(folder, whole)
    assert finish(start(folder, "killed"))[0] == 0
    assert same(folder, whole)


def test_an_interrupt_is_one_line_and_keeps_what_was_priced(folder: Path) -> None:
    process = start(folder, "killed", before=interruptible)
    until = time.monotonic() + PATIENCE
    while not parts(folder) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    code, out, err = finish(process)
    assert (code, out, err.strip()) == (2, "", "error: interrupted")
    assert parts(folder)


def test_workers_leave_an_interrupt_to_the_main_process() -> None:
    with _backend(None):
        found = joblib.Parallel(2)(joblib.delayed(signal.getsignal)(signal.SIGINT) for _ in range(4))
    assert set(found) == {signal.SIG_IGN}


def test_a_full_disk_is_one_line_and_keeps_what_was_priced(folder: Path, whole: Path) -> None:
    kill_at(folder, 2, 0.0)
    kept = len(parts(folder))
    full = start(folder, "killed", jobs=1, before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)))
    code, out, err = finish(full)
    assert (code, out) == (2, "")
    assert "cannot keep what is priced in" in err
    assert "File too large" in err
    assert "give the same command again" in err
    assert err.count("\n") == 1
    assert len(parts(folder)) == kept >= 2
    code, out, _ = finish(start(folder, "killed"))
    assert code == 0
    assert f"{kept} networks kept" in out
    assert same(folder, whole)


def test_text_that_does_not_fit_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "old.csv"
    save("old", path)
    with pytest.raises(RooflineError, match="cannot write"):
        save("new", tmp_path / "nowhere" / "old.csv")
    assert path.read_text() == "old"
