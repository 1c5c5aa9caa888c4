from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from isometry.core.errors import InputError
from isometry.corpora.readers.packages import package_files


def test_a_package_is_not_imported() -> None:
    code = (
        "import sys; from isometry.corpora.readers import open_source;"
        "source = open_source('python:torch.optim'); print(source.fingerprint());"
        "source = open_source('python:sklearn');"
        "print([name for name in ('torch', 'sklearn', 'docutils', 'transformers')"
        " if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[1] == "[]"


def test_the_standard_library() -> None:
    root, files = package_files("stdlib")
    assert root == Path(os.__file__).parent
    assert {"os.py", "json/decoder.py", "concurrent/futures/thread.py"} <= set(files)
    assert list(files) == sorted(files)
    folders = {part for file in files for part in file.split("/")[:-1]}
    assert not folders & {"test", "tests", "idlelib", "lib2to3", "site-packages", "ensurepip"}


def test_packages_modules_and_parts() -> None:
    assert package_files("os")[1] == ("os.py",)
    assert package_files("json.decoder")[1] == ("json/decoder.py",)
    root, files = package_files("markdown_it.rules_block")
    assert "markdown_it/rules_block/fence.py" in files
    assert all((root / file).is_file() for file in files)


@pytest.mark.parametrize(
    ("package", "message"),
    [
        ("no_such_package_here", "not installed"),
        ("sys", "no Python source"),
        ("json.nothing", "no module 'json.nothing'"),
        ("", "not installed"),
        ("__main__", "not installed"),
    ],
)
def test_what_is_not_there(package: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        package_files(package)


def test_the_name_of_the_distribution_leads_to_the_name_of_the_import() -> None:
    with pytest.raises(InputError) as caught:
        package_files("scikit-learn")
    assert "python:sklearn" in caught.value.hint
