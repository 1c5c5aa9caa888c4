"""`isometry evaluate`: several models or Spaces on the same queries, side by side."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isometry.core.errors import InputError
from isometry.core.progress import say
from isometry.corpora.readers import ReadingReport, open_source
from isometry.corpora.readers.judgements import Judgements, read_beir, read_judgements
from isometry.encoders.locate import locate
from isometry.space import MANIFEST, Space

if TYPE_CHECKING:
    from isometry.encoders.text import Precision


def evaluate(
    models: Sequence[str | Path],
    *,
    beir: str | Path | None = None,
    documents: str | Path | None = None,
    queries: str | Path | None = None,
    judgements: str | Path | None = None,
    text: str | None = None,
    title: str | None = None,
    id: str | None = None,
    precision: Precision = "float32",
) -> dict[str, Any]:
    """Ranks all documents for every query: each model by vectors, by words, and by both.

    Fusion uses a Space's own weight, and the usual one for a plain model, for which nothing was
    tuned. The passages that are ranked by words are the first model's, so this mode is the same for
    all.

    Args:
        models: Spaces, model folders, `packaged:NAME` or hub ids; differences are to the first.
        beir: A folder in BEIR's layout; or give the three that follow.
        documents: What `fit` takes as a source.
        queries: JSONL with `_id` and `text`, or TSV.
        judgements: BEIR's or TREC's layout.
        text: The column of a table that holds the text.
        title: The column that holds the title.
        id: The column that holds the id.
        precision: Of the matrix products.

    Returns:
        `{"rows": [...]}`: for every model and mode its figures and the difference of nDCG@10 to the
        first model in the same mode with a 95 % interval, `queries`, `documents`, `dropped`.

    Raises:
        InputError: For anything that the user can cause and cure.
    """
    if not models:
        raise InputError("Nothing to evaluate.", "Name a Space or a model.")
    for model in models:
        locate(model)
    if (beir is None) == (documents is None):
        raise InputError("Give either --beir FOLDER, or --documents with --queries, --judgements.")
    if documents is not None and (queries is None or judgements is None):
        raise InputError("--documents needs --queries and --judgements.")
    judged = None
    if beir is not None:
        documents, judged = read_beir(Path(beir))
    else:
        for file in (queries, judgements):
            if not Path(str(file)).is_file():
                raise InputError(f"There is no file {file}.")
    source = open_source(str(documents), text=text, title=title, id=id)
    found = list(source.documents(ReadingReport()))
    if judged is None:
        known = {document.id for document in found}
        judged = read_judgements(Path(str(queries)), Path(str(judgements)), known)
    views = [(document.header(), document.body()) for document in found]
    return _compare(models, [document.id for document in found], views, judged, precision)


def _compare(
    models: Sequence[str | Path],
    documents: list[str],
    views: list[tuple[str, str]],
    judged: Judgements,
    precision: Precision,
) -> dict[str, Any]:
    from isometry.encoders.cached import CachedEncoder
    from isometry.encoders.encoder import load_encoder
    from isometry.evaluation.retrieval import score_rankings
    from isometry.evaluation.significance import paired_bootstrap
    from isometry.jobs import ranking
    from isometry.search.fusion import USUAL_WEIGHT
    from isometry.search.lancedb import Lexical

    number = {document: row for row, document in enumerate(documents)}
    texts = list(judged.queries.values())
    relevance = [
        {number[document]: grade for document, grade in judged.relevance[query].items()}
        for query in judged.queries
    ]
    rows: list[dict[str, Any]] = []
    first: dict[str, Any] = {}
    words: ranking.Rankings | None = None
    with tempfile.TemporaryDirectory() as folder:
        for model in models:
            say(f"Evaluating {model}")
            space = Space.open(model) if (Path(model) / MANIFEST).is_file() else None
            encoder = load_encoder(model)
            chunks = ranking.passages_of(encoder, documents, views)
            ranked = ranking.collection(documents, chunks)
            if words is None:
                how = Lexical() if space is None else space.lexical
                index = ranking.build_index(Path(folder) / "words", ranked.chunks, None, how)
                words = ranking.lexical_rankings(index, documents, texts)
            cached = CachedEncoder(encoder, Path(folder) / "vectors", precision)
            dense = ranking.dense_rankings(cached, ranked, texts)
            weight = (
                USUAL_WEIGHT if space is None else float(space.manifest["search"]["dense_weight"])
            )
            orders = {
                "dense": dense,
                "lexical": words,
                "hybrid": ranking.fused_rankings(documents, dense, words, weight),
            }
            for mode, found in orders.items():
                scores = score_rankings(found.order, relevance)
                reference = first.setdefault(mode, scores)
                change = paired_bootstrap(reference["ndcg@10"], scores["ndcg@10"])
                figures = ranking.row_of(str(model), scores)
                rows.append(
                    {
                        "model": figures.pop("system"),
                        "mode": mode,
                        **figures,
                        "difference": change.difference,
                        "low": change.low,
                        "high": change.high,
                        "queries": len(texts),
                    }
                )
    return {"rows": rows, "documents": len(documents), "dropped_queries": judged.dropped}
