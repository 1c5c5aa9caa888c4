"""Queries, and people's judgements of which documents answer them: BEIR, TREC, TSV."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from isometry.core.errors import InputError
from isometry.corpora.readers.decoding import decode
from isometry.corpora.readers.reading import ReadingReport, has_words
from isometry.corpora.readers.rows import read_rows
from isometry.corpora.readers.tables import Columns, choose_columns, read_table

_QUERY_ID_NAMES = frozenset({"_id", "id", "qid", "query-id", "query_id"})


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
        queries: JSONL with `_id` and `text`, or lines `id<TAB>text`.
        judgements: BEIR's "query-id, corpus-id, score" under a header, or TREC's four columns
            "query 0 document score". Without it every query is kept, with no relevance.
        known: The ids of the documents.

    Raises:
        InputError: For a line that cannot be read, a relevant document that is not known, and
            when no query has a relevant document.
    """
    texts = dict(_json_queries(queries) if _is_json(queries) else _separated_queries(queries))
    if not texts:
        raise InputError(f"{queries} holds no queries.")
    if judgements is None:
        return Judgements(texts)
    known = known if isinstance(known, set | frozenset | dict) else set(known)
    relevance: dict[str, dict[str, int]] = {}
    unknown: dict[str, None] = {}
    for query, document, score in _judged(judgements):
        if score > 0 and query in texts:
            if document in known:
                relevance.setdefault(query, {})[document] = score
            else:
                unknown[document] = None
    if unknown:
        raise InputError(
            f"{judgements} judges {len(unknown)} documents that are not in the source:"
            f" {', '.join(list(unknown)[:3])}{', ...' if len(unknown) > 3 else ''}.",
            "Use the ids of the documents; for a table, --id names their column.",
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
    for line, row in read_rows(path, report, str(path)):
        query, document = row.get("query"), row.get("document")
        if not isinstance(query, str) or not has_words(query) or document is None:
            raise InputError(f"{path}:{line}: a pair needs a 'query' with words and a 'document'.")
        if str(document) not in known:
            raise InputError(
                f"{path}:{line}: the document '{document}' is not in the source.",
                "Use the ids of the documents; for a table, --id names their column.",
            )
        number = numbers.setdefault(query.strip(), f"pair {line}")
        judged.queries[number] = query.strip()
        judged.relevance.setdefault(number, {})[str(document)] = 1
    if report.skipped:
        raise InputError(f"{report.skipped[0].path}: {report.skipped[0].reason}.")
    if not judged.queries:
        raise InputError(f"{path} holds no pairs.")
    return judged


def read_beir(folder: Path) -> tuple[Path, Judgements]:
    """The corpus file of a folder in BEIR's layout, and the judgements of its test split.

    Without `qrels/test.tsv`, `qrels/dev.tsv` or else the only file in `qrels` is read.

    Raises:
        InputError: When a part is missing, and as `read_judgements` does.
    """
    corpus, queries = folder / "corpus.jsonl", folder / "queries.jsonl"
    splits = sorted((folder / "qrels").glob("*.tsv"))
    by_name = {path.name: path for path in splits}
    judged = by_name.get("test.tsv") or by_name.get("dev.tsv")
    if judged is None and len(splits) == 1:
        judged = splits[0]
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


def _is_json(path: Path) -> bool:
    return path.suffix.lower() in (".jsonl", ".ndjson")


def _json_queries(path: Path) -> Iterator[tuple[str, str]]:
    report, seen = ReadingReport(), set[str]()
    for line, row in read_rows(path, report, str(path)):
        if report.skipped:
            break
        identifier = row.get("_id", row.get("id"))
        yield _query(path, line, identifier, row.get("text", row.get("query")), seen)
    if report.skipped:
        broken = report.skipped[0]
        raise InputError(f"{broken.path}: {broken.reason}.")


def _separated_queries(path: Path) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for number, line in _lines(path):
        identifier, tab, text = line.partition("\t")
        if not tab:
            raise InputError(f"{path}:{number}: no tab between the id and the text of a query.")
        if number > 1 or identifier.lower() not in _QUERY_ID_NAMES:
            yield _query(path, number, identifier, text, seen)


def _query(
    path: Path, line: int, identifier: object, text: object, seen: set[str]
) -> tuple[str, str]:
    if isinstance(identifier, bool) or not isinstance(identifier, str | int) or identifier == "":
        raise InputError(f"{path}:{line}: a query without an id.")
    if not isinstance(text, str) or not has_words(text):
        raise InputError(f"{path}:{line}: the query '{identifier}' has no words.")
    key = str(identifier)
    if key in seen:
        raise InputError(f"{path}:{line}: the query id '{key}' came before.")
    seen.add(key)
    return key, text.strip()


def _judged(path: Path) -> Iterator[tuple[str, str, int]]:
    for number, line in _lines(path):
        # BEIR parts by tabs; TREC by any blanks.
        cells = line.split("\t") if line.count("\t") == 2 else line.split()
        if number == 1 and cells[-1].strip().lower() in ("score", "relevance", "rel"):
            continue
        try:
            if len(cells) not in (3, 4):
                raise ValueError
            yield cells[0].strip(), cells[-2].strip(), int(cells[-1])
        except ValueError:
            raise InputError(
                f"{path}:{number}: no judgement: '{line[:80]}'.",
                "A line is 'query<TAB>document<TAB>score', or TREC's 'query 0 document score'.",
            ) from None


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        text = decode(path.read_bytes())
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}.") from error
    if text is None:
        raise InputError(f"{path} is no text file.")
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line
