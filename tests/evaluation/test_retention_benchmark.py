from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from isometry.core.errors import InputError


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "retention.py"
    spec = importlib.util.spec_from_file_location("benchmarks_retention", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def few_pairs(tmp_path, monkeypatch, benchmark):
    """The first rows of both files, where gensim would have them."""
    folder = tmp_path / "gensim" / "test" / "test_data"
    folder.mkdir(parents=True)
    similar = "old\tnew\t1.58\nsmart\tintelligent\t9.2\nhard\tdifficult\t8.77\nhard\teasy\t0.95\n"
    related = "love\tsex\t6.77\ntiger\tcat\t7.35\ntiger\ttiger\t10.00\nstock\tegg\t1.81\n"
    (folder / "simlex999.txt").write_text("# Word 1\tWord 2\tHuman (mean)\n" + similar)
    (folder / "wordsim353.tsv").write_text("# Word 1\tWord 2\tHuman (mean)\n" + related)
    installed = benchmark.package_folder

    def elsewhere(package: str, extra: str) -> Path:
        return tmp_path / "gensim" if package == "gensim" else installed(package, extra)

    monkeypatch.setattr(benchmark, "package_folder", elsewhere)


def test_the_packaged_model_and_a_space_that_holds_it_agree(benchmark, few_pairs, tmp_path, capsys):
    space = tmp_path / "space"
    space.mkdir()
    (space / "space.json").write_text("{}")
    (space / "model").symlink_to(benchmark.model_folder(benchmark.BASE))
    assert benchmark.main([str(space), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert list(figures) == ["packaged:minilm", str(space)]
    assert figures["packaged:minilm"] == figures[str(space)]
    assert figures["packaged:minilm"]["WordSim-353"] == pytest.approx(100)
    assert figures["packaged:minilm"]["SimLex-999"] < 100  # opposites are near each other


def test_a_folder_that_is_neither_is_refused_before_any_work(
    benchmark, few_pairs, tmp_path, capsys, monkeypatch
):
    monkeypatch.delattr(benchmark, "correlations")
    assert benchmark.main([str(tmp_path)]) == 2
    assert "is no space" in capsys.readouterr().err


def test_a_missing_gensim_is_named_with_its_extra(benchmark, monkeypatch):
    # Other tests import it, to compare with.
    monkeypatch.delitem(sys.modules, "gensim", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"gensim.*pip install -e '\.\[bench\]'"):
        benchmark.package_folder("gensim", "bench")
    assert "gensim" not in sys.modules
