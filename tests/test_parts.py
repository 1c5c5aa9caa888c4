from __future__ import annotations

import importlib.util
import inspect
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def parts() -> ModuleType:
    spec = importlib.util.spec_from_file_location("list_parts", ROOT / "scripts/list_parts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def package(folder: Path, source: str) -> Path:
    """A package with one module, `core/one.py`."""
    (folder / "small" / "core").mkdir(parents=True)
    (folder / "small" / "core" / "one.py").write_text(source, encoding="utf-8")
    return folder / "small"


def listed(parts: ModuleType, folder: Path, source: str) -> list[str]:
    """The items of the page of a package with one module."""
    page = parts.render(package(folder, source), ["core"])
    return [line for line in page.splitlines() if line.startswith("- ")]


def test_the_page_is_current() -> None:
    command = [sys.executable, "scripts/list_parts.py", "--check"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_a_stale_page_fails_with_the_command_and_stays_as_it_was(
    parts: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    page = tmp_path / "parts.md"
    page.write_text("# Old\n", encoding="utf-8")
    monkeypatch.setattr(parts, "PAGE", page)
    monkeypatch.setattr(parts, "ROOT", tmp_path)
    monkeypatch.setattr(parts, "house", lambda _: ["core"])
    monkeypatch.setattr(parts, "SOURCE", package(tmp_path, '"""One."""\ndef f(): "F."\n'))
    monkeypatch.setattr(sys, "argv", ["list_parts.py", "--check"])
    assert parts.main() == 1
    assert parts.COMMAND in capsys.readouterr().err
    assert page.read_text(encoding="utf-8") == "# Old\n"
    monkeypatch.setattr(sys, "argv", ["list_parts.py"])
    assert parts.main() == 0
    monkeypatch.setattr(sys, "argv", ["list_parts.py", "--check"])
    assert parts.main() == 0


def test_everything_public_is_documented(parts: ModuleType) -> None:
    assert parts.undocumented(parts.SOURCE) == []


def test_what_lacks_a_docstring_is_named_with_its_line(parts: ModuleType, tmp_path: Path) -> None:
    source = '''
class Kind:
    """A kind."""

    def said(self):
        """Said."""

    def unsaid(self): ...
    def _private(self): ...

def bare(): ...
async def blank():
    " "
def _private(): ...
class _Private:
    def unsaid(self): ...
'''
    found = parts.undocumented(package(tmp_path, source))
    assert found == ["core/one.py:8 unsaid", "core/one.py:11 bare", "core/one.py:12 blank"]


def test_functions_are_shown_as_they_are_called(parts: ModuleType, tmp_path: Path) -> None:
    source = '''
def f(a, b: F['n d'], /, c: int = 1, *rest: str, d: str | None = None, e=2) -> int:
    """Counts.

    More of it.
    """

def g(a: int, *, b: Annotated[int, typer.Option(help="Long.")] = 3) -> None:
    """Goes."""
'''
    assert listed(parts, tmp_path, source) == [
        '- `f(a, b: F["n d"], /, c: int = 1, *rest: str, d: str | None = None, e=2) -> int`'
        "<br>Counts.",
        "- `g(a: int, *, b: int = 3) -> None`<br>Goes.",
    ]


def test_the_signatures_are_those_that_python_sees(parts: ModuleType) -> None:
    from isometry.jobs.encode import encode
    from isometry.search.fusion import reciprocal_rank_fusion, standard_score_fusion

    page = parts.PAGE.read_text(encoding="utf-8")
    for function in (encode, standard_score_fusion, reciprocal_rank_fusion):
        seen = str(inspect.signature(function)).replace("'", "").replace('"', "")
        assert f"- `{function.__name__}{seen}`" in page.replace('"', "")


def test_classes_are_shown_by_their_constructor_or_their_base(
    parts: ModuleType, tmp_path: Path
) -> None:
    source = '''
class Made(Base):
    """Made."""
    def __init__(self, width: int = 3) -> None: ...
    def run(self):
        """Runs."""

@dataclass(frozen=True)
class Data:
    """Data."""
    name: ClassVar[str] = "data"
    size: int
    rows: list[int] = field(default_factory=list)

class Mode(StrEnum):
    """Mode."""
    one = "one"
'''
    assert listed(parts, tmp_path, source) == [
        "- `class Made(width: int = 3)`<br>Made. Members: `run`.",
        "- `class Data(size: int, rows: list[int] = list())`<br>Data.",
        "- `class Mode(StrEnum)`<br>Mode.",
    ]


def test_private_names_and_imports_are_left_out(parts: ModuleType, tmp_path: Path) -> None:
    source = 'from os import path\ndef _hidden(): "H."\nclass _Hidden: "H."\ndef f(): "F."\n'
    assert listed(parts, tmp_path, source) == ["- `f()`<br>F."]


def test_a_folder_without_a_place_in_the_house_is_refused(
    parts: ModuleType, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="core has no place"):
        parts.render(package(tmp_path, 'def f(): "F."\n'), ["geometry"])


def test_folders_stand_in_the_order_of_the_house(parts: ModuleType) -> None:
    order = parts.house(ROOT / "pyproject.toml")
    assert order[0] == "core"
    assert order[-1] == "cli"
    page = parts.PAGE.read_text(encoding="utf-8")
    heads = [line.removeprefix("## ") for line in page.splitlines() if line.startswith("## ")]
    assert heads == [name for name in order if name in heads]
    assert {
        folder.name for folder in parts.SOURCE.iterdir() if (folder / "__init__.py").is_file()
    } <= set(heads)


def test_every_file_with_something_public_is_linked_once(parts: ModuleType) -> None:
    page = parts.PAGE.read_text(encoding="utf-8")
    for module in parts.public_modules(parts.SOURCE):
        link = f"(../{module.relative_to(ROOT).as_posix()})"
        assert page.count(link) == 1, link
