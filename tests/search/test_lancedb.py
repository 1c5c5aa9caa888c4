from __future__ import annotations

import ast
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isometry.core.errors import InputError
from isometry.search.lancedb import ChunkIndex, Lexical, chunk_schema
from isometry.search.terms import terms

DIM = 16
LINES = 12


def library() -> tuple[dict[str, str], list[str]]:
    """Functions of the standard library by qualified name, and first lines of docstrings."""
    bodies: dict[str, str] = {}
    questions: list[str] = []
    for module in ("argparse", "configparser", "ftplib", "shutil", "smtplib", "tarfile"):
        path = Path(sysconfig.get_path("stdlib")) / f"{module}.py"
        source = path.read_text(encoding="utf-8")
        lines = source.splitlines(keepends=True)
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                name = f"{module}.{node.name}:{node.lineno}"
                body = "".join(lines[node.lineno - 1 : node.end_lineno])
                bodies[name] = body[node.col_offset :].rstrip("\n")
                if words := ast.get_docstring(node):
                    questions.append(words.split("\n")[0])
    return bodies, questions


def cut(body: str) -> Iterator[tuple[int, int]]:
    """Where the pieces of a dozen lines start and end."""
    start = 0
    lines = body.splitlines(keepends=True)
    for first in range(0, len(lines), LINES):
        end = start + len("".join(lines[first : first + LINES]))
        yield start, end
        start = end


def batch(rows: Sequence[tuple[str, int, str, Sequence[float] | None]]) -> pa.RecordBatch:
    dim = next((len(row[3]) for row in rows if row[3] is not None), 2)
    return pa.RecordBatch.from_pylist(
        [
            {
                "document": document,
                "title": document.title(),
                "position": position,
                "start": 0,
                "end": len(text),
                "text": text,
                "vector": vector,
            }
            for document, position, text, vector in rows
        ],
        schema=chunk_schema(dim),
    )


def build(
    folder: Path,
    rows: Sequence[tuple[str, int, str, Sequence[float] | None]],
    lexical: Lexical | None = None,
) -> ChunkIndex:
    chunks = batch(rows)
    return ChunkIndex.create(folder, iter([chunks]), chunks.schema, lexical or Lexical())


def texts(folder: Path, language: str, documents: dict[str, str]) -> ChunkIndex:
    rows = [(name, 0, text, None) for name, text in documents.items()]
    return build(folder, rows, Lexical.for_language(language))


BODIES, QUESTIONS = library()
CHUNKS = [
    {
        "document": name,
        "title": name.split(":")[0],
        "position": position,
        "start": start,
        "end": end,
        "text": body[start:end],
    }
    for name, body in BODIES.items()
    for position, (start, end) in enumerate(cut(body))
]
VECTORS = np.random.default_rng(0).normal(size=(len(CHUNKS), DIM)).astype(np.float32)
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)


def library_batches() -> Iterator[pa.RecordBatch]:
    for first in range(0, len(CHUNKS), 100):
        rows = [
            row | {"vector": vector}
            for row, vector in zip(CHUNKS[first : first + 100], VECTORS[first:], strict=False)
        ]
        yield pa.RecordBatch.from_pylist(rows, schema=chunk_schema(DIM))


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> ChunkIndex:
    folder = tmp_path_factory.mktemp("library") / "index"
    return ChunkIndex.create(folder, library_batches(), chunk_schema(DIM), Lexical())


def test_it_holds_what_was_written(index: ChunkIndex) -> None:
    assert len(BODIES) > 250
    assert (index.chunks, index.documents, index.dim) == (len(CHUNKS), len(BODIES), DIM)


def test_a_hit_is_a_place_in_its_document(index: ChunkIndex) -> None:
    for hit in index.lexical("remove a directory tree", 20):
        assert BODIES[hit.document][hit.start : hit.end] == hit.text
        assert hit.title == hit.document.split(":")[0]
    assert index.lexical("remove a directory tree", 1)[0].document.startswith("shutil.")


def test_documents_are_distinct_and_fewer_are_the_first_of_more(index: ChunkIndex) -> None:
    for question in QUESTIONS[:40]:
        many = index.lexical(question, 200)
        assert len({hit.document for hit in many}) == len(many)
        assert [hit.score for hit in many] == sorted((hit.score for hit in many), reverse=True)
        for k in (1, 3, 10):
            assert index.lexical(question, k) == many[:k]


def test_dense_is_the_best_inner_product_of_each_document(index: ChunkIndex) -> None:
    for query in np.random.default_rng(1).normal(size=(20, DIM)).astype(np.float32):
        products = VECTORS @ query
        best: dict[str, tuple[float, int]] = {}
        for row in np.argsort(-products):
            chunk = CHUNKS[row]
            best.setdefault(chunk["document"], (float(products[row]), chunk["position"]))
        hits = index.dense(query, 25)
        expected = list(best.items())[:25]
        assert [(hit.document, hit.position) for hit in hits] == [
            (document, position) for document, (_, position) in expected
        ]
        assert [hit.score for hit in hits] == pytest.approx(
            [score for _, (score, _) in expected], abs=1e-5
        )


def test_dense_can_return_every_document(index: ChunkIndex) -> None:
    hits = index.dense(VECTORS[0], 10_000)
    assert {hit.document for hit in hits} == set(BODIES)
    assert hits[0].document == CHUNKS[0]["document"]


def test_chunks_of_one_document_do_not_crowd_out_the_others(tmp_path: Path) -> None:
    rows = [("long", i, "anchor " * 5 + str(i), [1.0, 0.0]) for i in range(300)]
    rows += [("short", 0, "anchor among many other words that make it longer", [0.6, 0.8])]
    found = build(tmp_path / "index", rows)
    assert [hit.document for hit in found.lexical("anchor", 2)] == ["long", "short"]
    assert [hit.document for hit in found.dense(np.array([1.0, 0.0]), 2)] == ["long", "short"]
    assert found.lexical("anchor", 1)[0].position == found.dense(np.array([1.0, 0]), 1)[0].position


def test_equal_scores_stand_in_the_order_of_ids_even_at_the_end_of_the_list(tmp_path: Path) -> None:
    names = [f"{i:03}" for i in np.random.default_rng(0).permutation(400)]
    found = build(tmp_path / "index", [(name, 0, "the same words", [1.0, 0.0]) for name in names])
    for k in (1, 5, 60):
        assert [hit.document for hit in found.lexical("words", k)] == sorted(names)[:k]
        assert [hit.document for hit in found.dense(np.ones(2), k)] == sorted(names)[:k]


def test_the_same_again_in_every_thread_and_in_another_index(
    index: ChunkIndex, tmp_path: Path
) -> None:
    other = ChunkIndex.create(
        tmp_path / "index", reversed(list(library_batches())), chunk_schema(DIM), Lexical()
    )

    def ask(question: str) -> list:
        return index.lexical(question, 10) + index.dense(VECTORS[len(question)], 10)

    asked = QUESTIONS[:30]
    once = [ask(question) for question in asked]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, asked * 3)) == once * 3
    for question, hits in zip(asked, once, strict=True):
        assert other.lexical(question, 10) == hits[: len(index.lexical(question, 10))]


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(codec=None), max_size=60))
def test_whatever_somebody_types_is_text(index: ChunkIndex, query: str) -> None:
    assert len(index.lexical(query, 3)) <= 3


@pytest.mark.parametrize(
    "query",
    [
        '"socket timeout"',
        '"socket" AND timeout*',
        "+socket -timeout",
        "socket:timeout^2 OR (",
        "socket~1 && timeout\\",
        '{"match": "socket timeout"}',
    ],
)
def test_nothing_is_an_operator(index: ChunkIndex, query: str) -> None:
    words = "".join(letter if letter.isalnum() else " " for letter in query)
    assert index.lexical(query, 10) == index.lexical(words, 10) != []


@pytest.mark.parametrize("query", ["", " \n\t", "\0", "the of and", '"', "*", "\ud800", "x" * 9999])
def test_a_query_without_terms_finds_nothing(index: ChunkIndex, query: str) -> None:
    assert index.lexical(query, 5) == []
    assert index.lexical("socket", 0) == []


def test_any_term_may_match(index: ChunkIndex) -> None:
    one = {hit.document for hit in index.lexical("socket", 1000)}
    other = {hit.document for hit in index.lexical("owner", 1000)}
    both = {hit.document for hit in index.lexical("socket owner", 1000)}
    assert one and other and both == one | other


@pytest.mark.parametrize(
    ("language", "query", "document"),
    [
        ("en", "compute a nest", "The computed nests of sparrows"),
        ("de", "das Haus", "Viele große Häuser stehen dort"),
        ("fr", "un cheval", "Les chevaux mangeaient de l'herbe, un cheval blanc courait"),
        ("ru", "книга", "Он читал книги о море"),
        ("ta", "மொழி", "தமிழ் மொழிகள்"),
        ("ja", "検索", "日本語のテキスト検索です"),
        ("zh", "分词", "中文分词测试"),
        ("th", "ภาษา", "คนไทยพูดภาษาไทยเป็นภาษาหลัก"),
        ("hi", "विक्रम", "राजा विक्रम की कहानी"),
        ("pl", "książka", "Ta książka jest ciekawa"),
        ("xx", "word", "One word"),
    ],
)
def test_words_are_found_in_many_languages(
    tmp_path: Path, language: str, query: str, document: str
) -> None:
    other = "0 1 2 क्र"
    found = texts(tmp_path / "index", language, {"other": other, "right": document})
    assert [hit.document for hit in found.lexical(query, 5)] == ["right"]


def test_marks_do_not_cut_words_and_identifiers_are_cut(tmp_path: Path) -> None:
    hindi = texts(tmp_path / "hi", "hi", {"whole": "विक्रम", "part": "क्रम विक रम"})
    assert [hit.document for hit in hindi.lexical("विक्रम", 5)] == ["whole"]
    for language in ("en", "pl", "ja"):
        code = texts(tmp_path / language, language, {"call": "os.path.join(some_name)"})
        assert code.lexical("join", 1) and code.lexical("name", 1)


def test_words_are_stemmed_only_where_the_language_is_known(tmp_path: Path) -> None:
    assert texts(tmp_path / "en", "en", {"a": "houses"}).lexical("house", 1)
    polish = texts(tmp_path / "pl", "pl", {"a": "houses", "b": "to the"})
    assert not polish.lexical("house", 1)
    assert polish.lexical("to", 1), "English stop words are words in Polish"


def test_an_index_without_vectors_is_lexical_only(tmp_path: Path) -> None:
    found = build(tmp_path / "index", [("a", 0, "some words", None), ("b", 0, "others", None)])
    assert [hit.document for hit in found.lexical("words", 5)] == ["a"]
    assert found.dense(np.ones(2), 5) == []


def test_chunks_without_a_vector_are_left_out(tmp_path: Path) -> None:
    rows = [("a", 0, "words", None), ("a", 1, "words", [0.0, 1.0]), ("b", 0, "words", None)]
    found = build(tmp_path / "index", rows)
    assert [(h.document, h.position) for h in found.dense(np.ones(2), 5)] == [("a", 1)]


def test_an_index_of_nothing_finds_nothing(tmp_path: Path) -> None:
    empty = ChunkIndex.create(tmp_path / "index", iter(()), chunk_schema(2), Lexical())
    assert empty.lexical("word", 5) == empty.dense(np.ones(2), 5) == []
    assert empty.chunks == empty.documents == 0


def test_what_goes_wrong_leaves_the_old_index_and_arrives_as_it_was(tmp_path: Path) -> None:
    build(tmp_path / "index", [("old", 0, "words", [1.0, 0.0])])

    def interrupted() -> Iterator[pa.RecordBatch]:
        yield batch([("new", 0, "words", [1.0, 0.0])])
        raise InputError("The source has gone.")

    with pytest.raises(InputError, match=r"^The source has gone\.$"):
        ChunkIndex.create(tmp_path / "index", interrupted(), chunk_schema(2), Lexical())
    assert [path.name for path in tmp_path.iterdir()] == ["index"]
    hits = ChunkIndex.open(tmp_path / "index").lexical("words", 5)
    assert [hit.document for hit in hits] == ["old"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_vector_that_is_not_finite_is_refused_with_its_document(
    tmp_path: Path, value: float
) -> None:
    rows = [("a", 0, "x", None), ("b", 0, "x", [1.0, 0.0]), ("c", 0, "x", [value, 0.0])]
    with pytest.raises(InputError, match="document 'c'"):
        build(tmp_path / "index", rows)
    assert not (tmp_path / "index").exists()


def test_clear_errors(tmp_path: Path, index: ChunkIndex) -> None:
    with pytest.raises(InputError, match="no index"):
        ChunkIndex.open(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(InputError, match=f"3 dimensions, the index {DIM}"):
        index.dense(np.ones(3), 5)
    build(tmp_path / "index", [("a", 0, "words", [1.0, 0.0])])
    for manifest in (tmp_path / "index").glob("*/_versions/*.manifest"):
        manifest.write_bytes(manifest.read_bytes()[:20])
    with pytest.raises(InputError, match="damaged"):
        ChunkIndex.open(tmp_path / "index")


def test_an_index_may_be_moved(tmp_path: Path) -> None:
    build(tmp_path / "index", [("a", 0, "words", [1.0, 0.0])])
    (tmp_path / "index").rename(tmp_path / "elsewhere")
    assert ChunkIndex.open(tmp_path / "elsewhere").lexical("words", 1)[0].document == "a"


def test_importing_it_does_not_import_the_engine() -> None:
    program = "import sys, isometry.search.lancedb; sys.exit('lancedb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_chunks_of_a_document_come_by_position(tmp_path: Path) -> None:
    rows = [("a", 2, "x", None), ("b", 0, "x", None), ("a", 0, "x", None), ("a", 1, "x", None)]
    index = build(tmp_path / "index", rows)
    assert index.rows.positions[index.of_document("a")].tolist() == [0, 1, 2]
    assert index.of_documents(["b", "a", "nobody"]).tolist() == [0, 1, 2, 3]
    assert index.of_document("nobody").tolist() == []


def test_accents_and_case_make_no_difference(tmp_path: Path) -> None:
    found = texts(tmp_path / "index", "en", {"a": "The CAFÉ in Zürich", "b": "others"})
    for query in ("cafe", "café", "Zurich", "ZÜRICH"):
        assert [hit.document for hit in found.lexical(query, 5)] == ["a"]


@pytest.mark.parametrize(
    ("iso", "many", "one"),
    [
        ("ar", "الكتاب", "كتاب"),
        ("da", "løsningernes", "løsning"),
        ("de", "Freundlichkeiten", "freundlich"),
        ("el", "σπίτια", "σπίτι"),
        ("es", "comieron", "comer"),
        ("fi", "taloissani", "talo"),
        ("fr", "chevaux", "cheval"),
        ("hu", "házakban", "ház"),
        ("it", "mangiavano", "mangiare"),
        ("nb", "mulighetene", "mulighet"),
        ("nl", "huizen", "huis"),
        ("nn", "mulighetene", "mulighet"),
        ("no", "mulighetene", "mulighet"),
        ("pt", "falávamos", "falar"),
        ("ro", "cărțile", "carte"),
        ("ru", "книги", "книга"),
        ("sv", "flickorna", "flicka"),
        ("ta", "மொழிகள்", "மொழி"),
        ("tr", "kitapları", "kitap"),
    ],
)
def test_each_language_has_its_own_stems(iso: str, many: str, one: str) -> None:
    own = Lexical.for_language(iso)
    others = [Lexical.for_language(code) for code in ("da", "en", "es", "fr", "it", "nl", "pt")]
    same = {how for how in (own, *others) if terms(many, how) == terms(one, how)}
    # No other language has these endings.
    assert same == {own}
