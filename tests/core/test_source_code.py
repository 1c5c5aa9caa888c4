from __future__ import annotations

from pathlib import Path

import pytest

from isometry.core import source_code
from isometry.core.source_code import code_hash, imported_modules


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    (folder / "inner").mkdir(parents=True)
    files = {
        "__init__.py": "",
        "inner/__init__.py": "",
        "top.py": "from small.inner import middle\nimport json\n",
        "inner/middle.py": "def f():\n    from small.deep import value\n    return value\n",
        "deep.py": "value = 1\n",
        "aside.py": "value = 2\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def changed(package: Path, name: str, text: str) -> bool:
    """Whether the hash of `top.py` is another one with this text in a file."""
    before = code_hash(package / "top.py", package)
    (package / name).write_text(text)
    source_code._parsed.cache_clear()
    source_code._meaning.cache_clear()
    return code_hash(package / "top.py", package) != before


def test_imports_are_found_wherever_they_stand(package: Path) -> None:
    names = [path.relative_to(package).as_posix() for path in imported_modules(
        package / "top.py", package
    )]  # fmt: skip
    assert names == ["inner/__init__.py", "inner/middle.py"]
    assert imported_modules(package / "inner/middle.py", package) == [package / "deep.py"]


def test_what_an_import_imports_counts_and_what_nobody_imports_does_not(package: Path) -> None:
    assert not changed(package, "aside.py", "value = 3\n")
    assert changed(package, "deep.py", "value = 4\n")


def test_words_about_code_change_nothing(package: Path) -> None:
    assert changed(package, "deep.py", '"""Now with words."""\nvalue = (\n    1 + 0\n)  # so\n')
    assert not changed(package, "deep.py", '"""Other words."""\nvalue = 1 + 0\n')
    assert not changed(
        package, "inner/middle.py",
        'def f():\n    "Says."\n    from small.deep import value\n    return value\n',
    )  # fmt: skip


def test_two_files_that_swap_their_contents_are_other_code(package: Path) -> None:
    assert changed(package, "top.py", "from small import deep, aside\n")
    (package / "aside.py").write_text("value = 1\n")
    before = code_hash(package / "top.py", package)
    (package / "deep.py").write_text("value = 2\n")
    source_code._meaning.cache_clear()
    swapped = code_hash(package / "top.py", package)
    assert swapped != before
