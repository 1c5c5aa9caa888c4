"""`isometry evaluate`: several models or Spaces on the same queries, side by side."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isometry.core.errors import InputError
from isometry.core.progress import say
from isometry.corpora.readers import ReadingReport, open_source
from isometry.corpora.readers.judgements import Judgements, read_beir, read_judgements
from isometry.corpora.readers.reading import skipped_first
from isometry.encoders.locate import locate
from isometry.jobs.places import check_apart, several
from isometry.space import Space
from isometry.space_files import MANIFEST

if TYPE_CHECKING:
    from isometry.corpora.documents import Document
    from isometry.encoders.text import Precision


def evaluate(
    models: str | Path | Sequence[str | Path],
    *,
    beir: str | Path | None = None,
    documents: str | Path | None = None,
    queries: str | Path | None = None,
    judgements: str | Path | None = None,
    text: str | None = None,
    title: str | None = None,
    id: str | None = None,
    query_prompts: Sequence[str | None] = (),
    document_prompts: Sequence[str | None] = (),
    precision: Precision = "float32",
) -> dict[str, Any]:
    """Ranks all documents for every query: each model by vectors, by words, and by both.

    Fusion uses a Space's own weight, and the usual one for a plain model, for which nothing was
    tuned. The passages that are ranked by words are the first model's, and words are matched as the
    first Space does, or without one by the documents' language, so this mode is the same for all.
    A query that is a document itself does not find that one, unless it is judged.

    Args:
        models: Spaces, model folders, `packaged:NAME` or hub ids; differences are to the first. One
            may come again with another prompt: then it is called "NAME (2)".
        beir: A folder in BEIR's layout; or give the three that follow.
        documents: What `fit` takes as a source.
        queries: JSONL with `_id` and `text`, or TSV.
        judgements: BEIR's, TREC's or MS MARCO's layout.
        text: The column of a table that holds the text.
        title: The column that holds the title.
        id: The column that holds the id.
        query_prompts: One for each model that is no Space, instead of the query prompt of its own
            configuration; None leaves that. A Space has its own prompts and weight.
        document_prompts: Likewise, its document prompt.
        precision: Of the matrix products.

    Returns:
        `{"rows": [...]}`: for every model and mode its figures and the difference of nDCG@10 to the
        first model in the same mode with a 95 % interval, and `queries`, how many; `models`, the
        `query_prompt` and `document_prompt` that each `model` was evaluated with; `documents`;
        `dropped_queries`, how many had no relevant document; `skipped`, how many files and rows
        could not be read, and `skipped_first`, where and why.

    Raises:
        InputError: For anything that the user can cause and cure.
    """
    models = several(models)
    if not models:
        raise InputError("Nothing to evaluate.", "Name a Space or a model.")
    if precision not in ("float32", "bfloat16"):
        raise InputError(f"The precision is 'float32' or 'bfloat16', not '{precision}'.")
    for model in models:
        locate(model)
    places = [Path(model).expanduser() for model in models]
    spaces = [Space.open(one) if (one / MANIFEST).is_file() else None for one in places]
    prompts = list(
        zip(
            _for_each(spaces, "--query-prompt", query_prompts),
            _for_each(spaces, "--document-prompt", document_prompts),
            strict=True,
        )
    )
    if (beir is None) == (documents is None):
        raise InputError("Give either --beir FOLDER, or --documents with --queries, --judgements.")
    if documents is not None and (queries is None or judgements is None):
        raise InputError("--documents needs --queries and --judgements.")
    if beir is not None and (queries is not None or judgements is not None):
        raise InputError("--beir brings queries and judgements of its own.", "Leave these out.")
    if beir is not None and (text or title or id):
        raise InputError(
            "--beir says what its columns are called.", "Leave out --text, --title and --id."
        )
    judged = None
    if beir is not None:
        documents, judged = read_beir(Path(beir).expanduser())
    else:
        for file in (queries, judgements):
            if not Path(str(file)).expanduser().is_file():
                raise InputError(f"There is no file {file}.")
    source = open_source(str(documents), text=text, title=title, id=id)
    if judged is None:
        queries, judgements = (Path(str(file)).expanduser() for file in (queries, judgements))
        check_apart(source, queries)
    report = ReadingReport()
    found = list(source.documents(report))
    if judged is None:
        known = {document.id for document in found}
        judged = read_judgements(Path(str(queries)), Path(str(judgements)), known)
    compared = _compare(models, spaces, prompts, found, judged, precision)
    return {
        **compared,
        "skipped": len(report.skipped),
        "skipped_first": skipped_first(report),
    }


def names_of(models: Sequence[str | Path]) -> list[str]:
    """What each is called; one that comes again, with another prompt say, has its number."""
    names = list(map(str, models))
    return [
        f"{name} ({names[: place + 1].count(name)})" if name in names[:place] else name
        for place, name in enumerate(names)
    ]


def _for_each(
    spaces: Sequence[Space | None], option: str, given: Sequence[str | None]
) -> list[str | None]:
    """What each model gets instead of its own prompt; None where that stays, as in every Space.

    Raises:
        InputError: When it is not given once for each model that is no Space.
    """
    if given and len(given) != spaces.count(None):
        raise InputError(
            f"{option} is given {len(given)} times, and {spaces.count(None)} of the models are no"
            " Spaces, which keep theirs.",
            'Give it once for each that is none, in their order; "" is no prompt.',
        )
    left = iter(given)
    return [next(left, None) if space is None else None for space in spaces]


def _compare(
    models: Sequence[str | Path],
    spaces: Sequence[Space | None],
    prompts: Sequence[tuple[str | None, str | None]],
    found: Sequence[Document],
    judged: Judgements,
    precision: Precision,
) -> dict[str, Any]:
    import numpy as np

    from isometry.corpora.curation.profile import languages
    from isometry.corpora.documents import views_of
    from isometry.corpora.splits import independent_parts
    from isometry.encoders.cached import CachedEncoder
    from isometry.evaluation.retrieval import score_rankings
    from isometry.jobs import ranking
    from isometry.jobs.loading import check_prompts, load_sound
    from isometry.jobs.preparation import groups_of, judged_together, word_language
    from isometry.search.fusion import USUAL_WEIGHT
    from isometry.search.lancedb import Lexical

    how = next((space.lexical for space in spaces if space is not None), None)
    if how is None:
        how = Lexical.for_language(
            word_language(languages(found), Counter(document.kind for document in found))
        )
    documents = [document.id for document in found]
    views = views_of(found)
    number = {document: row for row, document in enumerate(documents)}
    texts = list(judged.queries.values())
    relevance = [
        {number[document]: grade for document, grade in judged.relevance[query].items()}
        for query in judged.queries
    ]
    itself = ranking.asked_documents(texts, relevance, views)
    depth = ranking.DEPTH + int((itself >= 0).any())
    # No near-duplicates are looked for here: pages, and what answers one query.
    parts = independent_parts(
        groups_of(found), np.arange(len(found)), judged_together(list(own) for own in relevance)
    )
    groups = [int(parts[next(iter(own))]) for own in relevance]
    rows: list[dict[str, Any]] = []
    described: list[dict[str, str]] = []
    first: dict[str, ranking.PerQuery] = {}
    words: ranking.Rankings | None = None
    with tempfile.TemporaryDirectory() as folder:
        for name, model, space, (query, document) in zip(
            names_of(models), models, spaces, prompts, strict=True
        ):
            say(f"Evaluating {name}")
            encoder = load_sound(model, query_prompt=query, document_prompt=document)
            check_prompts(encoder)
            described.append(
                {
                    "model": name,
                    "query_prompt": encoder.prompts["query"],
                    "document_prompt": encoder.prompts["document"],
                }
            )
            chunks = ranking.passages_of(encoder, documents, views)
            ranked = ranking.collection(documents, chunks)
            if words is None:
                index = ranking.build_index(Path(folder) / "words", ranked.chunks, None, how)
                words = ranking.without(
                    ranking.lexical_rankings(index, documents, texts, depth), itself
                )
            cached = CachedEncoder(encoder, Path(folder) / "vectors", precision)
            dense = ranking.without(ranking.found_by_vectors(cached, ranked, texts, depth), itself)
            weight = (
                USUAL_WEIGHT if space is None else float(space.manifest["search"]["dense_weight"])
            )
            orders = {
                "dense": dense,
                "lexical": words,
                "hybrid": ranking.fused_rankings(documents, dense, words, weight),
            }
            for mode, ordered in orders.items():
                scores = score_rankings(ordered.order, relevance)
                reference = first.setdefault(mode, scores)
                rows.append(ranking.row_against(name, mode, scores, reference, groups))
    return {
        "rows": rows,
        "models": described,
        "documents": len(documents),
        "dropped_queries": judged.dropped,
    }
