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


def forget() -> None:
    source_code._parsed.cache_clear()
    source_code._statements.cache_clear()


def changed(package: Path, name: str, text: str) -> bool:
    """Whether the hash of `top.py` is another one with this text in a file."""
    before = code_hash(package / "top.py", package)
    (package / name).write_text(text)
    forget()
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
    forget()
    swapped = code_hash(package / "top.py", package)
    assert swapped != before


PARTS = """
import json
from small.deep import value

LIMIT = 3
both, other = 1, 2
config = {}
config["a"] = 1


def used(x: int) -> int:
    return helper(x) + LIMIT


def helper(x: int) -> int:
    return x


def unused(x: int) -> int:
    return value + both
"""


@pytest.mark.parametrize(
    ("old", "new", "counts"),
    [
        ("return helper(x)", "return -helper(x)", True),  # what is imported
        ("    return x\n", "    return x + 1\n", True),  # what that calls
        ("LIMIT = 3", "LIMIT = 4", True),  # what that reads
        ('config["a"] = 1', 'config["a"] = 2', True),  # what runs whatever is used
        ("return value + both", "return value - both", False),
        ("both, other = 1, 2", "both, other = 3, 2", False),
        ("import json", "import csv", False),
        ("def unused(x: int) -> int:", "def helper(x: int) -> int:", True),  # defined twice
        ("helper(x) + LIMIT", "helper(x) + LIMIT + value", True),
        ("from small.deep import value", "from small.aside import value", False),
    ],
)
def test_only_what_is_used_of_a_file_counts(
    package: Path, old: str, new: str, counts: bool
) -> None:
    (package / "parts.py").write_text(PARTS)
    (package / "top.py").write_text("from small.parts import used\n")
    assert PARTS.count(old) == 1
    assert changed(package, "parts.py", PARTS.replace(old, new)) == counts


def test_what_is_used_through_another_file_counts_and_so_does_its_origin(package: Path) -> None:
    (package / "parts.py").write_text(PARTS)
    (package / "top.py").write_text("from small.inner import used\n")
    assert changed(package, "inner/__init__.py", "from small.parts import used\n")
    assert changed(package, "parts.py", PARTS.replace("LIMIT = 3", "LIMIT = 4"))
    assert changed(package, "inner/__init__.py", "from small.aside import value as used\n")


@pytest.mark.parametrize(
    "top",
    [
        "from small import parts\n",
        "import small.parts\n",
        "from small.parts import *\n",
        "from small.parts import made_at_run_time\n",
        "def later():\n    from small import parts\n    return parts\n",
    ],
)
def test_where_it_cannot_be_told_what_is_used_all_of_a_file_counts(package: Path, top: str) -> None:
    (package / "parts.py").write_text(PARTS)
    (package / "top.py").write_text(top)
    assert changed(package, "parts.py", PARTS.replace("both, other = 1, 2", "both, other = 3, 2"))
    assert changed(package, "deep.py", "value = 5\n")


def test_what_only_type_checkers_read_does_not_count(package: Path) -> None:
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from small import deep\n"
    (package / "top.py").write_text(text)
    assert not changed(package, "deep.py", "value = 5\n")


def test_words_in_calls_do_not_count_where_they_are_named(package: Path) -> None:
    (package / "top.py").write_text("thing = dict(title='one', size=1)\n")
    top = package / "top.py"
    before = code_hash(top, package, prose=("title",))
    top.write_text("thing = dict(title='two', size=1)\n")
    forget()
    assert code_hash(top, package, prose=("title",)) == before != code_hash(top, package)
    top.write_text("thing = dict(title='two', size=2)\n")
    forget()
    assert code_hash(top, package, prose=("title",)) != before


def test_what_is_behind_a_door_does_not_count(package: Path) -> None:
    door = package / "inner" / "middle.py"

    def hashes() -> list[str]:
        forget()
        return [code_hash(package / "top.py", package, doors=each) for each in ((), (door,))]

    before = hashes()
    (package / "deep.py").write_text("value = 4\n")
    after = hashes()
    assert before[0] != after[0] and before[1] == after[1] != before[0]
    door.write_text("value = 5\n")
    assert hashes()[1] == after[1]
    (package / "top.py").write_text("from small.inner import middle\nimport csv\n")
    assert hashes()[1] != after[1]


GUARDED = """
def used(x: int) -> int:
    if x < 0:
        raise ValueError(f"{x} is below 0")
    try:
        return helper(x)
    except KeyError as error:
        raise ValueError("no") from error


def helper(x: int) -> int:
    return x


def words(x: int) -> str:
    return str(x)
"""
GUARD = '    if x < 0:\n        raise ValueError(f"{x} is below 0")\n'
TURNED = '    except KeyError as error:\n        raise ValueError("no") from error\n'


@pytest.mark.parametrize(
    ("old", "new", "counts"),
    [
        (GUARD, "", False),
        (GUARD, '    if words(x) == "a":\n        raise KeyError(words(x))\n' + GUARD, False),
        (GUARD, "    assert x != 3\n", False),
        (GUARD, GUARD + "    elif x > 9:\n        raise KeyError\n", False),
        (TURNED, TURNED + "    except OSError:\n        raise\n", False),
        # What goes on otherwise, or has done something before, decides about what comes out.
        (GUARD, GUARD + "    else:\n        x += 1\n", True),
        (GUARD, "    if x < 0:\n        x = 0\n", True),
        (GUARD, "    if x < 0:\n        helper(x)\n        raise ValueError\n", True),
        (GUARD, "    if (x := x + 1) < 0:\n        raise ValueError\n", True),
        (TURNED, "    except KeyError:\n        return 0\n", True),
        (TURNED, TURNED + "    finally:\n        helper(1)\n", True),
        ("return helper(x)", "return -helper(x)", True),
    ],
)
def test_what_only_refuses_counts_where_it_is_asked_for(
    package: Path, old: str, new: str, counts: bool
) -> None:
    (package / "top.py").write_text("from small.parts import used\n")
    assert GUARDED.count(old) == 1

    def hashes(text: str) -> list[str]:
        (package / "parts.py").write_text(text)
        forget()
        return [
            code_hash(package / "top.py", package, refusals=refusals) for refusals in (True, False)
        ]

    before, after = hashes(GUARDED), hashes(GUARDED.replace(old, new))
    assert before[0] != after[0]
    assert (before[1] != after[1]) == counts


def test_without_refusals_a_function_that_only_refuses_is_still_one(package: Path) -> None:
    text = "def used(x):\n    if x:\n        raise ValueError\n"
    (package / "top.py").write_text("from small.parts import used\n")
    (package / "parts.py").write_text(text)
    before = code_hash(package / "top.py", package, refusals=False)
    (package / "parts.py").write_text(text.replace("used(x)", "used(x, y)"))
    forget()
    assert code_hash(package / "top.py", package, refusals=False) != before
