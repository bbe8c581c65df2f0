"""The examples run, as a reader would run them."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import roofline

EXAMPLES = Path(__file__).parent.parent / "examples"
NEEDS = {"detection.py": "effdet", "segmentation.py": "segmentation_models_pytorch"}
"""Examples that need a package of an extra, and which."""

SCRIPTS = sorted(
    path for path in EXAMPLES.glob("*.py") if path.name not in {*NEEDS, "search_under_b0.py"}
)  # tests/test_search.py runs a short search
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


def test_there_are_examples() -> None:
    assert SCRIPTS
    assert NOTEBOOKS


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_runs_and_writes_only_to_a_temporary_folder(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(Path(roofline.__file__).parents[1]))
    before = sorted(EXAMPLES.parent.iterdir())
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=True, cwd=EXAMPLES.parent)
    assert done.stderr == ""
    assert "efficientnet_b3 on NVIDIA T4" in done.stdout
    assert [page.suffix for page in tmp_path.rglob("*.*")] == [".html"]
    assert sorted(EXAMPLES.parent.iterdir()) == before


@pytest.mark.parametrize("name", NEEDS)
def test_a_script_that_needs_an_extra_runs_where_it_is_installed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec(NEEDS[name]) is None:
        pytest.skip(f"{NEEDS[name]} is not installed")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(Path(roofline.__file__).parents[1]))
    command = [sys.executable, "-W", "ignore", "-B", str(EXAMPLES / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=EXAMPLES.parent)
    assert "-bound" in done.stdout
    assert "3.88 M  2.49 G" in done.stdout or name != "detection.py"  # Tan et al., EfficientDet, table 2: D0 has 3.9 M and 2.5 B


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs_from_top_to_bottom(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(EXAMPLES.parent)}}).execute()
    shown = [cell.outputs[-1].data for cell in notebook.cells if cell.cell_type == "code"]
    assert all({"text/html", "application/vnd.plotly.v1+json"} & set(data) for data in shown)
    assert any('class="roofline"' in data["text/html"] for data in shown)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.outputs for cell in code] == [[]] * len(code)
    assert [cell.execution_count for cell in code] == [None] * len(code)
