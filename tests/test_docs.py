"""Documents: the page of commands is the commands' own help, public names are documented, and code in them runs."""

import importlib.util
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

import roofline
from roofline.cli import COMMANDS, run
from roofline.costmodel.timemodel import BOUNDS
from roofline.transforms.changes import CHANGES
from roofline.transforms.modes import MODES
from roofline.transforms.precision import PRECISIONS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = re.sub(r"-\n +", "-", "\n".join(page.read_text() for page in PAGES))  # a word cut at its hyphen is whole again


def load(path: Path) -> ModuleType:
    """Import a file that is in no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_commands_is_what_the_commands_say(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["generate.py", "--check"])
    code = load(ROOT / "docs" / "generate.py").main()
    assert (code, capsys.readouterr().err) == (0, "")


@pytest.mark.parametrize("name", roofline.__all__)
def test_every_public_name_is_explained_and_mentioned(name: str) -> None:
    assert inspect.getdoc(getattr(roofline, name))
    assert re.search(rf"\b{name}\b", TEXT), f"{name} is in no document"


@pytest.mark.parametrize("name", [name for name in dir(roofline.Report) if not name.startswith("_")])
def test_every_member_of_a_report_says_what_it_is(name: str) -> None:
    member = inspect.getattr_static(roofline.Report, name)
    if name in {"graph", "hardware", "mode", "precision", "layout", "batch", "columns", "times", "index", "changes"}:
        return  # fields, which the class explains
    assert inspect.getdoc(member.func if hasattr(member, "func") else member), name


@pytest.mark.parametrize("word", [*COMMANDS, *MODES, *PRECISIONS, *BOUNDS, *CHANGES])
def test_every_choice_is_in_the_documents(word: str) -> None:
    assert re.search(rf"(?<!\w){re.escape(word)}(?!\w)", TEXT)


def test_the_help_of_analyze_lists_every_choice(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["analyze", "--help"]) == 0
    text = "".join(capsys.readouterr().out.split())
    assert [word for word in (*MODES, *PRECISIONS, *CHANGES, "nchw", "nhwc") if word not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_inside_the_project_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


BLOCKS = [
    (page.name, i, block)
    for page in PAGES
    for i, block in enumerate(re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE))
]


@pytest.mark.parametrize("block", [block for _, _, block in BLOCKS], ids=[f"{name}-{i}" for name, i, _ in BLOCKS])
def test_python_in_the_documents_runs(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "document", "exec"), {})


def test_there_is_python_in_the_documents() -> None:
    assert BLOCKS
