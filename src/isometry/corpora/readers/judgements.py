"""Queries, and people's judgements of which documents answer them: BEIR, TREC, MS MARCO."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isometry.core.errors import InputError
from isometry.corpora.readers.decoding import decode
from isometry.corpora.readers.reading import ReadingReport, as_read, has_words
from isometry.corpora.readers.rows import LINES, clear_read_errors, table_suffix
from isometry.corpora.readers.tables import Columns, choose_columns, read_table
from isometry.corpora.readers.text_rows import JsonLines, open_bytes
from isometry.corpora.readers.topics import read_topics

_QUERIES = ("_id", "id", "qid", "query-id", "query_id", "queryid", "topic", "topic_id", "query")
_TEXTS = ("text", "query", "title", "query_text")
_DOCUMENTS = ("corpus-id", "corpus_id", "doc_id", "doc-id", "docid", "docno", "pid", "document",
              "document_id", "passage_id")  # fmt: skip
_SCORES = ("score", "relevance", "rel", "label", "grade", "judgment", "judgement")
_LAYOUTS = "Queries are JSONL with _id and text, lines 'id<TAB>text', or TREC's topics."
_QUERY = "Each line needs _id and text."
_PAIR = 'A line is {"query": "...", "document": "an id"}.'
_ITERATIONS = frozenset({"0", "Q0", "q0"})


@dataclass
class Judgements:
    """Queries and the documents that answer them.

    Attributes:
        queries: The text of a query by its id.
        relevance: By query id and document id, how relevant (> 0) the document is.
        dropped: How many queries had no relevant document and are left out.
    """

    queries: dict[str, str]
    relevance: dict[str, dict[str, int]] = field(default_factory=dict)
    dropped: int = 0


def read_judgements(queries: Path, judgements: Path | None, known: Collection[str]) -> Judgements:
    """Reads queries, and judgements where there are some.

    Args:
        queries: JSONL with `_id` and `text`, lines `id<TAB>text`, or TREC's topics.
        judgements: BEIR's "query-id, corpus-id, score" under a header, TREC's four columns
            "query 0 document score", or those of ir_datasets, "query document score 0"; of a
            folder the file that `read_beir` would take. Where a document is judged twice, the
            highest score counts; one of 0 or less says that it does not answer the query. Without
            judgements every query is kept, with no relevance.
        known: The ids of the documents.

    Raises:
        InputError: For a line that cannot be read, a relevant document that is not known, and
            when no query has a relevant document.
    """
    texts = dict(_queries(queries))
    if not texts:
        raise InputError(f"{queries} holds no queries.", _LAYOUTS)
    if judgements is None:
        return Judgements(texts)
    known = known if isinstance(known, set | frozenset | dict) else set(known)
    relevance: dict[str, dict[str, int]] = {}
    unknown: dict[str, None] = {}
    if judgements.is_dir():
        judgements = _split(judgements) or judgements / "test.tsv"
    for query, document, score in _judged(judgements):
        if score > 0 and query in texts:
            if document in known:
                scores = relevance.setdefault(query, {})
                scores[document] = max(score, scores.get(document, 0))
            else:
                unknown[document] = None
    if unknown:
        raise InputError(
            f"{judgements} judges {len(unknown)} documents that are not in the source:"
            f" {', '.join(list(unknown)[:3])}{', ...' if len(unknown) > 3 else ''}.",
            _ids(known),
        )
    if not relevance:
        raise InputError(
            f"None of the {len(texts)} queries in {queries} has a relevant document in"
            f" {judgements}.",
            "The two files must use the same query ids.",
        )
    kept = {query: text for query, text in texts.items() if query in relevance}
    return Judgements(kept, relevance, dropped=len(texts) - len(kept))


def read_pairs(path: Path, known: Collection[str]) -> Judgements:
    """Reads JSONL rows of `query` and `document` (an id): queries and what answers them, in one.

    Raises:
        InputError: For a row that cannot be read, or a document that is not known.
    """
    judged = Judgements({})
    numbers: dict[str, str] = {}
    report = ReadingReport()
    for line, row in JsonLines(path).read(None, report, str(path)):
        query, document = row.get("query"), row.get("document")
        if not isinstance(query, str) or not has_words(query) or document is None:
            raise InputError(
                f"{path}:{line}: a pair needs a 'query' with words and a 'document'.", _PAIR
            )
        if str(document) not in known:
            raise InputError(
                f"{path}:{line}: the document '{document}' is not in the source.", _ids(known)
            )
        query = _as_documents(query)
        number = numbers.setdefault(query, f"pair {line}")
        judged.queries[number] = query
        judged.relevance.setdefault(number, {})[str(document)] = 1
    if report.skipped:
        raise InputError(f"{report.skipped[0].path}: {report.skipped[0].reason}.")
    if not judged.queries:
        raise InputError(f"{path} holds no pairs.", _PAIR)
    return judged


def _as_documents(query: str) -> str:
    """A query as documents are read and as a search asks it: composed, without half characters."""
    whole = query.encode("utf-8", errors="replace").decode("utf-8")
    return as_read(whole).strip()


def _ids(known: Collection[str]) -> str:
    return (
        f"Ids here look like '{min(known, default='')}'. What has no words is no document; of a"
        " table, --id says which column has the ids, and with --limit only the first are there."
    )


def read_beir(folder: Path) -> tuple[Path, Judgements]:
    """The corpus file of a folder in BEIR's layout, and the judgements of its test split.

    Without `qrels/test.tsv`, `qrels/dev.tsv`, `qrels/validation.tsv` or else the only file in
    `qrels` is read.

    Raises:
        InputError: When a part is missing, and as `read_judgements` does.
    """
    corpus, queries = folder / "corpus.jsonl", folder / "queries.jsonl"
    judged = _split(folder / "qrels")
    for path in (corpus, queries, judged or folder / "qrels" / "test.tsv"):
        if not path.is_file():
            raise InputError(
                f"There is no file {path}.",
                "BEIR's layout is corpus.jsonl, queries.jsonl and qrels/test.tsv.",
            )
    columns = choose_columns(corpus, Columns())
    documents = read_table(corpus, columns, ReadingReport(), shown=corpus.name)
    known = {document.id for document in documents}
    return corpus, read_judgements(queries, judged, known)


def beir_judgements(folder: Path) -> tuple[Path, Path] | None:
    """The queries and the judgements of a folder in BEIR's layout; None where it is no such.

    Raises:
        InputError: When it has queries and judgements, but not where that layout has them.
    """
    corpus, queries = folder / "corpus.jsonl", folder / "queries.jsonl"
    judged = _split(folder / "qrels")
    if judged is not None and corpus.is_file() and queries.is_file():
        return queries, judged
    if (folder / "qrels").is_dir() and queries.is_file():
        # Its queries would be read as documents, and others be made.
        raise InputError(
            f"{folder} has queries and judgements, but is not in BEIR's layout.",
            "That is corpus.jsonl, queries.jsonl and qrels/test.tsv.",
        )
    return None


def _split(folder: Path) -> Path | None:
    """The judgements of the test split, else of the development's, else the only ones."""
    splits = sorted(folder.glob("*.tsv"))
    by_name = {path.name: path for path in splits}
    only = splits[0] if len(splits) == 1 else None
    names = ("test.tsv", "dev.tsv", "validation.tsv")
    return next((by_name[name] for name in names if name in by_name), only)


def _queries(path: Path) -> Iterator[tuple[str, str]]:
    if any(table_suffix(path.name).startswith(suffix) for suffix in LINES):
        found = _json_queries(path)
    else:
        text = _text(path)
        is_tagged = text.lstrip().startswith("<")
        found = read_topics(text, path) if is_tagged else _separated_queries(text, path)
    seen: set[str] = set()
    for line, identifier, words in found:
        if isinstance(identifier, bool) or not isinstance(identifier, str | int):
            raise InputError(f"{path}:{line}: a query without an id.", _QUERY)
        key = str(identifier).strip()
        if not key:
            raise InputError(f"{path}:{line}: a query without an id.", _QUERY)
        if not isinstance(words, str) or not has_words(words):
            raise InputError(f"{path}:{line}: the query '{key}' has no words.")
        if key in seen:
            raise InputError(f"{path}:{line}: the query id '{key}' came before.")
        seen.add(key)
        yield key, _as_documents(words)


def _json_queries(path: Path) -> Iterator[tuple[int | str, object, object]]:
    report = ReadingReport()
    for line, row in JsonLines(path).read(None, report, str(path)):
        if report.skipped:
            break
        # "query" may be the words, never the id, so that it is not looked for among the ids.
        yield line, _value(row, _QUERIES[:-1]), _value(row, _TEXTS)
    if report.skipped:
        broken = report.skipped[0]
        raise InputError(f"{broken.path}: {broken.reason}.")


def _value(row: dict[str, Any], names: Sequence[str]) -> object:
    return next((row[name] for name in names if name in row), None)


def _separated_queries(text: str, path: Path) -> Iterator[tuple[int, object, object]]:
    identifiers, words = 0, 1
    for place, (number, line) in enumerate(_lines(text)):
        cells = line.split("\t")
        if len(cells) < 2:
            raise InputError(
                f"{path}:{number}: no tab between the id and the text of a query.",
                _LAYOUTS,
            )
        names = [cell.strip().lower() for cell in cells]
        if place == 0 and (found := _position(names, _QUERIES)) is not None:
            identifiers = found
            others = [name if at != found else "" for at, name in enumerate(names)]
            words = _position(others, _TEXTS) or (1 if found == 0 else 0)
            continue
        yield number, cells[identifiers], cells[words] if words < len(cells) else ""


def _position(names: Sequence[str], wanted: Sequence[str]) -> int | None:
    return next((names.index(name) for name in wanted if name in names), None)


def _judged(path: Path) -> Iterator[tuple[str, str, int]]:
    rows: list[tuple[int, list[str]]] = []
    positions: list[int | None] | None = None
    for place, (number, line) in enumerate(_lines(_text(path))):
        # BEIR parts by tabs; TREC by any blanks.
        cells = line.split("\t") if line.count("\t") in (2, 3) else line.split()
        cells = [cell.strip() for cell in cells]
        if place == 0:
            names = [cell.lower() for cell in cells]
            found = [_position(names, wanted) for wanted in (_QUERIES, _DOCUMENTS, _SCORES)]
            if found[2] is not None:
                positions = found if None not in found else [0, -2, -1]
                continue
        rows.append((number, cells))
    if positions is None:
        positions = [0, 1, 2] if _score_is_third([cells for _, cells in rows]) else [0, -2, -1]
    query, document, score = (position or 0 for position in positions)
    for number, cells in rows:
        try:
            if len(cells) not in (3, 4) or not cells[query] or not cells[document]:
                raise ValueError
            yield cells[query], cells[document], _whole(cells[score])
        except ValueError:
            raise InputError(
                f"{path}:{number}: no judgement: '{' '.join(cells)[:80]}'.",
                "A line is 'query<TAB>document<TAB>score', or TREC's 'query 0 document score'.",
            ) from None


def _score_is_third(rows: Sequence[Sequence[str]]) -> bool:
    """Whether four columns are those of ir_datasets: the one that says nothing comes last."""
    return (
        all(len(cells) == 4 and cells[3] in _ITERATIONS for cells in rows)
        and all(cells[2].lstrip("-").isdigit() for cells in rows)
        and not all(cells[1] in _ITERATIONS for cells in rows)
    )


def _whole(score: str) -> int:
    value = float(score)
    if not value.is_integer():
        raise ValueError
    return int(value)


def _text(path: Path) -> str:
    with clear_read_errors(str(path)), open_bytes(path) as file:
        text = decode(file.read())
    if text is None:
        raise InputError(
            f"{path} is no text file.",
            "Queries are JSONL, TSV or TREC's topics; judgements are lines of BEIR's or TREC's"
            " layout.",
        )
    return text


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line
