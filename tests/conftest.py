from __future__ import annotations

import ast
import copy
import gc
import os
import shutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from jaxtyping import install_import_hook
from small_vocabulary import WORDS

# Before torch is imported: its threads would spin while they wait, and where another process
# wants the core, a small operation takes a hundred times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Several test processes share the cores: two threads each on one core mostly wait for another.
_PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if _PROCESSES > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // _PROCESSES)))
# Before anything of these is imported: the shapes in their signatures hold at run time.
install_import_hook(
    [
        "isometry.compression",
        "isometry.corpora.curation.dirichlet_lm",
        "isometry.corpora.hierarchy",
        "isometry.corpora.pairs.representative_words",
        "isometry.corpora.views.masking",
        "isometry.encoders.counts",
        "isometry.encoders.cross_encoder",
        "isometry.encoders.small_decoder",
        "isometry.encoders.surgery.prompts",
        "isometry.evaluation.aggregation",
        "isometry.evaluation.agreement",
        "isometry.evaluation.concept_alignment",
        "isometry.evaluation.isotropy",
        "isometry.evaluation.neighbor_labels",
        "isometry.evaluation.sweep",
        "isometry.evaluation.slices",
        "isometry.geometry",
        "isometry.heads",
        "isometry.learners",
        "isometry.merging",
        "isometry.objectives",
        "isometry.pooling",
        "isometry.search.explanation",
        "isometry.search.feedback",
        "isometry.search.late_interaction",
        "isometry.search.reranking",
        "isometry.search.sparse",
        "isometry.training.grad_cache",
        "isometry.training.length_batches",
        "isometry.training.negatives",
        "isometry.training.stages",
        "isometry.training.topic_batches",
        "isometry.training.unique_batches",
    ],
    "beartype.beartype",
)

from isometry.core.files import read_json  # noqa: E402
from isometry.core.writing import atomic_folder, write_json  # noqa: E402
from isometry.corpora.packaged.locate import make_once  # noqa: E402
from isometry.encoders.packaged_models import packaged_folder  # noqa: E402
from isometry.encoders.text import TextEncoder  # noqa: E402


def library() -> Iterator[tuple[str, str]]:
    """What functions of the standard library say about themselves, and their code without that."""
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        source = path.read_text(encoding="utf-8")
        lines = source.splitlines()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef) and (words := ast.get_docstring(node)):
                said = node.body[0]
                code = (
                    lines[node.lineno - 1 : said.lineno - 1]
                    + lines[said.end_lineno : node.end_lineno]
                )
                yield words, "\n".join(code)


if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(autouse=True, scope="module")
def spared_collection() -> None:
    """Every training starts with a full collection, which need not look through all that lives on.

    That is what was imported and what earlier modules keep: a million objects and more.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all test processes: the first makes what takes long, and nobody changes it."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if _PROCESSES > 1 else own


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """1,200 docstrings of the standard library, all different: one line long to very long."""
    found: dict[str, None] = {}
    for words, _ in library():
        found[words] = None
        if len(found) == 1200:
            break
    return list(found)


@pytest.fixture(scope="session")
def pairs() -> list[tuple[str, str]]:
    """200 pairs of the standard library: what a function does, and its code."""
    found: dict[str, str] = {}
    for words, code in library():
        if len(code) > 100:
            found[words.split("\n")[0]] = code
        if len(found) == 200:
            break
    return list(found.items())


@pytest.fixture(scope="session")
def minilm() -> TextEncoder:
    """The packaged MiniLM; do not change it."""
    return TextEncoder.load("packaged:minilm")


def _copy_tokenizer(folder: Path) -> None:
    """MiniLM's, with its first words alone."""
    tokenizer = read_json(packaged_folder("minilm") / "tokenizer.json")
    vocabulary = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {word: row for word, row in vocabulary.items() if row < WORDS}
    write_json(folder / "tokenizer.json", tokenizer)
    shutil.copy(packaged_folder("minilm") / "tokenizer_config.json", folder)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers folder with a random BERT, 2 layers of 32, and frequent words."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("tiny")
    body = folder / "body"
    torch.manual_seed(0)
    BertModel(
        BertConfig(
            vocab_size=WORDS,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=128,
            initializer_range=0.2,
        )
    ).save_pretrained(body)
    _copy_tokenizer(body)
    transformer = Transformer(str(body), max_seq_length=64)
    model = SentenceTransformer(modules=[transformer, Pooling(32)], device="cpu")
    model.save(str(folder / "model"), create_model_card=False)
    return folder / "model"


@pytest.fixture(scope="session")
def tiny_original(tiny_folder: Path) -> TextEncoder:
    """The tiny model, loaded once; do not change it."""
    return TextEncoder.load(tiny_folder)


@pytest.fixture
def tiny(tiny_original: TextEncoder) -> Iterator[TextEncoder]:
    """The tiny model; a test may change it, but not the words of its tokenizer."""
    words = tiny_original.model.tokenizer.backend_tokenizer
    before = words.get_vocab_size()
    # To copy them takes longer than all else.
    yield copy.deepcopy(tiny_original, {id(words): words})
    assert words.get_vocab_size() == before, "take the fixture `growing`"


@pytest.fixture
def growing(tiny_original: TextEncoder) -> TextEncoder:
    """The tiny model; a test may add words to it."""
    return copy.deepcopy(tiny_original)


@pytest.fixture(scope="session")
def small_folder(shared: Path) -> Path:
    """A poor but real encoder: MiniLM's word vectors, projected to 64, under two weak layers.

    Of its words it has the frequent ones, and the pieces that others are made of.
    """
    folder = shared / "small"
    make_once(folder / "model", "10 MB", lambda: _make_small(folder))
    return folder / "model"


def _make_small(folder: Path) -> None:
    import torch
    from safetensors.torch import load_file
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    body = BertModel(
        BertConfig(
            vocab_size=WORDS,
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=128,
            initializer_range=0.01,
        )
    )
    weights = load_file(packaged_folder("minilm") / "model.safetensors")
    words = weights["embeddings.word_embeddings.weight"][:WORDS]
    directions = torch.linalg.svd(words[::10] - words.mean(0), full_matrices=False).Vh[:64]
    body.embeddings.word_embeddings.weight.data = (words - words.mean(0)) @ directions.T
    body.save_pretrained(folder / "body")
    _copy_tokenizer(folder / "body")
    transformer = Transformer(str(folder / "body"), max_seq_length=128)
    model = SentenceTransformer(modules=[transformer, Pooling(64)], device="cpu")
    model.save(str(folder / "model"), create_model_card=False)


MODULES = (
    "calendar contextlib csv fractions ftplib functools gettext glob heapq mimetypes pprint queue"
    " random sched shelve shutil statistics string tempfile textwrap uuid"
)


def _source(folder: Path, modules: str) -> Path:
    def make() -> None:
        with atomic_folder(folder) as temporary:
            for name in modules.split():
                shutil.copy(Path(sysconfig.get_path("stdlib")) / f"{name}.py", temporary)

    make_once(folder, "1 MB", make)
    return folder


@pytest.fixture(scope="session")
def tiny_docs(shared: Path) -> Path:
    """A folder of real source: some 20 modules of the standard library, 860 documents."""
    return _source(shared / "docs", MODULES)


@pytest.fixture(scope="session")
def few_docs(shared: Path) -> Path:
    """Some 270 of them, for a fit that is quick and learns next to nothing."""
    return _source(shared / "few-docs", "calendar heapq queue random shelve shutil textwrap")


@pytest.fixture(scope="session")
def tiny_plan(shared: Path) -> Path:
    """A plan for the small model: a few steps, nothing measured."""
    from isometry.training.plan import Plan

    plan = Plan(
        minutes=0.5,
        seed=0,
        steps=80,
        batch=16,
        precision="float32",
        query_tokens=32,
        passage_tokens=64,
        frozen_layers=0,
        layers=2,
        learning_rate=2e-3,
        temperature=0.05,
        dims=(64, 32),
        alphas=(1.0, 0.5),
        pool=200,
        queries=1000,
        pairs=10_000,
        pairs_to_be_seen=1280,
        epochs=1.0,
        threads=2,
        measured={},
        estimate_seconds={"training": 5.0},
        nested=(),
    )
    path = shared / "plan.json"
    make_once(path, "1 MB", lambda: write_json(path, plan.to_json()))
    return path


@pytest.fixture(scope="session")
def brief_plan(tiny_plan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with steps too few to get better, for what happens on the way."""
    path = tmp_path_factory.mktemp("brief") / "plan.json"
    write_json(path, {**read_json(tiny_plan), "steps": 12})
    return path


@pytest.fixture(scope="session")
def tiny_space(tiny_docs: Path, small_folder: Path, tiny_plan: Path, shared: Path) -> Path:
    """A finished Space: `tiny_docs` under the small model."""
    import isometry

    out = shared / "tiny-space"

    def make() -> None:
        isometry.fit(tiny_docs, base=small_folder, plan=tiny_plan, out=out)

    make_once(out, "10 MB", make)
    return out


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium; not for the session, since playwright occupies the event loop."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium")
    if path is None:
        pytest.fail("Pages are tested in a browser: install the Debian package 'chromium'.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()
