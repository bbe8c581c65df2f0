"""Searching: the same seed gives the same trials, also in parts; limits hold; the front is what nothing beats; errors."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import roofline
from roofline.cli import run
from roofline.errors import ModelError, RooflineError
from roofline.report.search import to_html
from roofline.studies.candidates import Candidate
from roofline.studies.contrast import contrast
from roofline.studies.found import Search
from roofline.studies.search import search
from roofline.tracing.mbconv import trace_whole

ROOT = Path(__file__).parent.parent

SPACE: dict[str, Any] = {
    "resolution": [64, 96],
    "stem": 16,
    "head": 64,
    "classes": 10,
    "stages": [
        {"depth": {"from": 1, "to": 3}, "width": {"from": 16, "to": 48, "step": 8}, "kernel": [3, 5], "stride": 2, "squeeze": [0, 0.25]},
        {"depth": [1, 2], "width": [32, 64], "stride": 2, "expansion": [1, 4], "block": ["mbconv", "fused"], "squeeze": 0},
    ],
}
YAML = f"# a JSON text is a YAML text too\n{json.dumps(SPACE)}\n"


def small(**options: Any) -> Search:
    return search(SPACE, options.pop("hardware", "t4"), **{"trials": 12, "batch": 4, "precision": "fp16", "mode": "engine", **options})


def told(found: Search) -> list[tuple[Any, ...]]:
    return [(t.state, dict(t.parameters), t.values, t.broken, t.reason) for t in found.trials]


# --- seeds, and searches that are cut off -------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_the_same_seed_gives_the_same_trials(sampler: str) -> None:
    one, again, other = (small(sampler=sampler, seed=seed) for seed in (3, 3, 4))
    assert told(one) == told(again)
    assert told(one) != told(other)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_a_search_in_two_parts_ends_as_one_in_a_single_run_does(sampler: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"sampler": sampler, "seed": 1, "max_params": 60e3}
    storage = f"sqlite:///{tmp_path / 'search.db'}"
    whole = small(trials=16, **options)
    first = small(trials=7, storage=storage, **options)
    second = small(trials=16, storage=storage, **options)
    assert told(first) == told(whole)[:7]
    assert told(second) == told(whole)
    assert second.pace.candidates == 9
    assert [t.number for t in second.front] == [t.number for t in whole.front]
    assert small(trials=16, storage=storage, **options).pace.candidates == 0


def test_a_search_that_was_killed_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "space.yaml").write_text(YAML)
    arguments = ["search", "space.yaml", "--hw", "t4", "--storage", "sqlite:///s.db", "--json"]
    command = [sys.executable, "-m", "roofline", *arguments, "--trials", "100000"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline, done = time.monotonic() + 120, 0
        while done < 5 and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.2)
            done = _finished(tmp_path / "s.db")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = _finished(tmp_path / "s.db")
    assert 5 <= done < 100000
    result = subprocess.run(
        [sys.executable, "-m", "roofline", *arguments, "--trials", str(done + 3)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    body = json.loads(result.stdout)
    assert len(body["trials"]) == done + 3
    assert body["pace"]["candidates"] == 3


def _finished(path: Path) -> int:
    import sqlite3
    from contextlib import closing

    if not path.exists():
        return 0
    try:
        with closing(sqlite3.connect(path)) as database:
            return database.execute("select count(*) from trials where state in ('COMPLETE', 'PRUNED', 'FAIL')").fetchone()[0]
    except sqlite3.OperationalError:  # not yet made
        return 0


def test_a_study_of_another_search_is_refused(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 's.db'}"
    small(trials=2, storage=storage)
    with pytest.raises(RooflineError, match=r"is of another search \(it differs in batch\); give --study another name"):
        small(trials=2, storage=storage, batch=8)
    with pytest.raises(RooflineError, match="it differs in limits"):
        small(trials=2, storage=storage, max_latency="1ms")
    assert len(small(trials=2, storage=storage, batch=8, study="other").trials) == 2


# --- limits, the front and the best -------------------------------------------------------------------------------------


def test_limits_hold_and_what_is_pruned_would_have_broken_them() -> None:
    free = small(trials=40, sampler="random")
    latencies = sorted(t.figures["t4_latency_seconds"] for t in free.trials)
    limit, params = latencies[20], sorted(t.figures["params"] for t in free.trials)[30]
    kept = small(trials=40, sampler="random", max_latency=limit, max_params=params)
    assert kept.counts["pruned"]
    assert kept.counts["over a limit"]
    for before, after in zip(free.trials, kept.trials, strict=True):
        assert before.parameters == after.parameters  # random numbers do not depend on limits
        good = before.figures["t4_latency_seconds"] <= limit and before.figures["params"] <= params
        assert after.feasible == good
        assert (after.state == "pruned") == (before.figures["params"] > params)
    assert all(t.figures["t4_latency_seconds"] <= limit for t in kept.front)


def test_memory_of_weights_alone_prunes_only_what_memory_would_refuse() -> None:
    free = small(trials=20, sampler="random")
    limit = sorted(t.figures["params"] for t in free.trials)[10] * 2.0  # fp16 weights of half of them
    kept = small(trials=20, sampler="random", max_memory=limit)
    pruned = [before for before, after in zip(free.trials, kept.trials, strict=True) if after.state == "pruned"]
    assert pruned
    assert all(t.figures["memory_bytes"] > limit for t in pruned)


def test_a_limit_holds_on_every_device() -> None:
    free = small(hardware=["t4", "v100"], trials=20, sampler="random")
    assert [goal.column for goal in free.goals] == ["macs", "t4_latency_seconds", "v100_latency_seconds"]
    slower = sorted(max(t.figures["t4_latency_seconds"], t.figures["v100_latency_seconds"]) for t in free.trials)
    kept = small(hardware=["t4", "v100"], trials=20, sampler="random", max_latency=slower[9])
    assert kept.counts["feasible"] == 10


@pytest.mark.parametrize("against", [("latency",), ("latency", "memory"), ("cost",), ("none",)])
def test_the_front_is_what_nothing_feasible_beats(against: tuple[str, ...]) -> None:
    found = small(trials=40, sampler="random", against=against, max_latency="0.45ms")
    signs = [-1 if goal.more else 1 for goal in found.goals]
    points = {t.number: tuple(s * v for s, v in zip(signs, t.values, strict=True)) for t in found.trials if t.feasible}
    best = {
        number
        for number, point in points.items()
        if not any(all(a <= b for a, b in zip(other, point, strict=True)) and other != point for other in points.values())
    }
    assert {points[t.number] for t in found.front} == {points[number] for number in best}
    assert {t.number for t in found.front} <= best
    assert found.best is not None
    assert found.best.figures["macs"] == max(t.figures["macs"] for t in found.trials if t.feasible)


def test_a_smart_sampler_beats_a_random_one() -> None:
    guided, blind = (small(trials=80, sampler=sampler, against=("none",), max_latency="0.4ms").best for sampler in ("tpe", "random"))
    assert guided is not None
    assert blind is not None
    assert guided.values > blind.values


def test_the_best_is_priced_as_analyze_prices_it() -> None:
    found = small(precision="fp32", mode="eager", trials=6)
    assert found.best is not None
    architecture = found.candidate(found.best).architecture
    assert architecture is not None
    report = roofline.analyze(trace_whole(architecture), "t4", batch=4)
    figures = found.best.figures
    assert (report.latency, report.peak_memory, report.params) == (
        figures["t4_latency_seconds"],
        figures["memory_bytes"],
        figures["params"],
    )
    assert report.macs == 4 * figures["macs"]
    assert roofline.analyze(found.graph(found.best), "t4", batch=4).latency == report.latency


def test_blocks_change_nothing_but_the_speed() -> None:
    fast, slow = small(trials=4), small(trials=4, cache=False)
    assert told(fast) == told(slow)
    assert fast.pace.traced > 0
    assert fast.pace.whole_seconds is not None
    assert (slow.pace.traced, slow.pace.whole_seconds) == (0, None)


# --- code of the user's -------------------------------------------------------------------------------------------------


def build(trial: Any) -> torch.nn.Module:
    width, depth = trial.suggest_int("width", 8, 32, step=8), trial.suggest_int("depth", 1, 3)
    layers = [layer for _ in range(depth) for layer in (torch.nn.Conv2d(width, width, 3), torch.nn.ReLU())]
    return torch.nn.Sequential(torch.nn.Conv2d(3, width, 3), *layers)


def test_a_function_that_builds_networks_is_searched() -> None:
    found = search(build, "t4", trials=10, image_size=32)
    for t in found.trials:
        width, depth = t.parameters["width"], t.parameters["depth"]
        pixels = [(30 - 2 * i) ** 2 for i in range(depth + 1)]
        assert t.figures["macs"] == 9 * width * (3 * pixels[0] + width * sum(pixels[1:]))
    with pytest.raises(RooflineError, match="have no part in a space of architectures"):
        small(image_size=32)


def test_an_accuracy_of_the_users_is_asked_for_feasible_networks_alone() -> None:
    asked: list[Candidate] = []
    priced = small(trials=20, sampler="random").trials
    limit = sorted(t.figures["t4_latency_seconds"] for t in priced)[10]

    def accuracy(candidate: Candidate) -> float:
        asked.append(candidate)
        assert isinstance(candidate.build("meta"), torch.nn.Module)
        return -candidate.parameters["stages.0.depth"]

    found = small(objective=accuracy, max_latency=limit, trials=20, sampler="random")
    assert found.goals[0].column == "accuracy"
    assert 0 < len(asked) < 20
    assert found.counts["feasible"] == sum(t.figures["t4_latency_seconds"] <= limit for t in priced)
    assert found.counts["over a limit"] == 0
    assert {t.parameters["stages.0.depth"] for t in found.front[:1]} == {min(t.parameters["stages.0.depth"] for t in found.front)}
    assert any("accuracy not asked for: latency on t4" in t.reason for t in found.trials)


@pytest.mark.parametrize(
    ("accuracy", "message"),
    [
        (lambda _candidate: float("nan"), "return a finite number"),
        (lambda _candidate: "good", "gave 'good'"),
        (lambda _candidate: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda _candidate: sys.exit(3), "SystemExit: 3"),
    ],
)
def test_an_accuracy_that_fails_is_told(accuracy: Callable[[Candidate], float], message: str) -> None:
    with pytest.raises(RooflineError, match=re.escape(message)):
        small(objective=accuracy, trials=2)


def test_networks_that_cannot_be_built_fail_alone() -> None:
    def fragile(trial: Any) -> torch.nn.Module:
        if trial.suggest_int("width", 8, 32, step=8) == 8:
            raise ValueError("too narrow\nfor this")
        return build(trial)

    found = search(fragile, "t4", trials=20, image_size=32, sampler="random")
    failed = [t for t in found.trials if t.state == "failed"]
    assert 0 < len(failed) < 20
    assert all("ValueError: too narrow" in t.reason for t in failed)

    def broken(trial: Any) -> torch.nn.Module:
        raise ValueError("never")

    with pytest.raises(ModelError, match="none of 3 networks could be built; the first: broken failed: ValueError: never"):
        search(broken, "t4", trials=3)


def test_a_function_may_prune() -> None:
    import optuna

    def picky(trial: Any) -> torch.nn.Module:
        if trial.suggest_int("width", 8, 32, step=8) == 8:
            raise optuna.TrialPruned("too narrow")
        return build(trial)

    found = search(picky, "t4", trials=12, image_size=32, sampler="random")
    assert {t.reason for t in found.trials if t.state == "pruned"} == {"too narrow"}


# --- what is written ------------------------------------------------------------------------------------------------------


def test_every_format_holds_every_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import pandas as pd

    monkeypatch.chdir(tmp_path)
    Path("space.yaml").write_text(YAML)
    outputs = [f"s{suffix}" for suffix in (".html", ".json", ".csv", ".parquet")]
    arguments = ["search", "space.yaml", "--hw", "t4", "--trials", "8", "--max-latency", "5ms", *(a for o in outputs for a in ("-o", o))]
    assert run(arguments) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert max(map(len, out.splitlines())) <= 80
    assert "MACs stand for capacity, and are no accuracy" in out
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["space.yaml", *outputs])
    body = json.loads(Path("s.json").read_text())
    tables = pd.read_csv("s.csv"), pd.read_parquet("s.parquet")
    assert [len(table) for table in tables] == [8, 8]
    for table in tables:
        assert table["t4_latency_seconds"].tolist() == pytest.approx([row["t4_latency_seconds"] for row in body["trials"]])
        assert table.loc[table["front"], "trial"].tolist() == sorted(body["front"])
    assert small().to_pandas()["stages.0.depth"].between(1, 3).all()


def test_a_page_is_safe_from_names() -> None:
    def hostile(trial: Any) -> torch.nn.Module:
        trial.suggest_categorical("</script><script>alert(1)</script>", ["<b>", "&\x1b[31m"])
        return torch.nn.Conv2d(3, 8, 3)

    page = to_html(search(hostile, "t4", trials=4, image_size=32))
    assert "<script>alert" not in page
    assert "\x1b" not in page
    assert page.count("</script>") == page.count("<script")
    assert "Content-Security-Policy" in page


def test_json_is_all_that_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(
        "import torch\ndef build(trial):\n    print('noise')\n    return torch.nn.Conv2d(3, trial.suggest_int('w', 1, 9), 3)\n"
        "def accuracy(candidate):\n    return candidate.parameters['w']\n"
    )
    arguments = ["search", "net.py:build", "--hw", "t4", "--trials", "3", "--image-size", "32", "--objective", "net.py:accuracy", "--json"]
    assert run(arguments) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["objectives"][0] == {"column": "accuracy", "direction": "maximize"}
    assert "noise" in err


def test_no_feasible_network_is_exit_code_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("space.yaml").write_text(YAML)
    assert run(["search", "space.yaml", "--hw", "t4", "--trials", "3", "--max-latency", "1us"]) == 1
    assert "no network keeps every limit" in capsys.readouterr().out


def test_the_example_finds_more_macs_in_b0s_time_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    command = [sys.executable, "-B", "examples/search_under_b0.py", "30"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.stderr == ""
    found = re.search(r"- trial \d+ has (\S+) times the MACs of B0, and takes (\S+) times as long", done.stdout)
    assert found is not None
    assert float(found[1]) > 1.2
    assert float(found[2]) <= 1
    assert re.search(r"FLOP a byte keep t4 busy in fp16", done.stdout)
    assert [page.suffix for page in tmp_path.rglob("*.*")] == [".html"]


def test_a_contrast_adds_up_to_both_networks() -> None:
    one, other = (roofline.analyze(name, "t4", batch=8) for name in ("test_efficientnet", "test_resnet"))
    both = contrast(one, other, ("A", "B"))
    assert sum(s.before for s in both.shares) == pytest.approx(one.latency)
    assert sum(s.after for s in both.shares) == pytest.approx(other.latency)
    text = "\n".join(both.lines())
    assert "depthwise conv" in text
    assert max(map(len, text.splitlines())) <= 80


# --- mistakes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hardware": "t5"}, "unknown hardware 't5'; did you mean t4?"),
        ({"hardware": []}, "no device to study"),
        ({"trials": 0}, "bad number of trials 0"),
        ({"seed": -1}, "bad seed -1"),
        ({"batch": 0}, "bad batch size 0"),
        ({"precision": "fp17"}, "unknown precision 'fp17'"),
        ({"mode": "fast"}, "unknown mode 'fast'"),
        ({"sampler": "best"}, "unknown sampler 'best'; use one of tpe, nsga2, random"),
        ({"objective": "flops"}, "unknown objective 'flops'"),
        ({"against": ("speed",)}, "unknown figure 'speed' to search against"),
        ({"max_latency": "5"}, "bad latency '5'"),
        ({"max_latency": "5GB"}, "bad latency '5GB'"),
        ({"max_memory": -1.0}, "bad limit of -1.0 on memory"),
        ({"max_latency": float("nan")}, "bad limit of nan on latency"),
        ({"storage": "x.db"}, "write it as a URL, such as sqlite:///x.db"),
        ({"storage": "sqlite:////no/such/folder/x.db"}, "cannot open the storage sqlite:////no/such/folder/x.db"),
        ({"storage": "nosuch://me:secret@host/x"}, "cannot open the storage nosuch://***@host/x"),
    ],
)
def test_a_mistake_is_told_before_anything_slow(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RooflineError) as caught:
        small(**options)
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_device_without_a_price_cannot_be_searched_by_cost() -> None:
    unpriced = next(name for name in roofline.hardware.names() if roofline.load_hardware(name).price is None)
    with pytest.raises(RooflineError, match="has no price in its profile"):
        small(hardware=unpriced, against=("cost",), precision="fp32")
    with pytest.raises(RooflineError, match="has no price in its profile, so cost cannot be limited"):
        small(hardware=unpriced, max_cost="1", precision="fp32")


def test_without_optuna_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert run(["search", str(ROOT / "examples" / "space.yaml"), "--hw", "t4", "--trials", "3"]) == 2
    assert capsys.readouterr().err == "error: a search needs Optuna; install it with: pip install 'roofline[search]'\n"


@pytest.mark.parametrize("arguments", [["none.yaml"], ["none.py:build"], ["no.such.module:build"], ["space.yaml", "-o", "x.txt"]])
def test_bad_input_is_exit_code_2(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("space.yaml").write_text(YAML)
    assert run(["search", *arguments, "--hw", "t4", "--trials", "3"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["space.yaml"]
