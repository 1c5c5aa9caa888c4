"""The steps of `fit`, each done once and resumable; `jobs/fit.py` puts them in order."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from isometry.core.errors import InputError
from isometry.core.progress import say
from isometry.core.workspace import Workspace
from isometry.core.writing import write_json
from isometry.corpora.documents import views_of
from isometry.corpora.pairs.query_writer import OpenAIWriter
from isometry.corpora.pairs.tasks import Pair
from isometry.corpora.readers import Source
from isometry.encoders.cached import CachedEncoder
from isometry.encoders.finite import check_finite
from isometry.encoders.sizes import Size, check_sizes, read_sizes, size_names
from isometry.encoders.surgery.layers import truncate
from isometry.encoders.text import TextEncoder
from isometry.evaluation.retention import Encode, gloss_retention
from isometry.evaluation.retrieval import score_rankings
from isometry.jobs import ranking
from isometry.jobs.fit import FitSettings
from isometry.jobs.loading import check_prompts, check_same_model, load_sound_text_encoder
from isometry.jobs.planning import plan_for
from isometry.jobs.preparation import Prepared, Questions, prepare, word_language
from isometry.jobs.ranking import Collection, Rankings
from isometry.jobs.sampling import Sample
from isometry.jobs.writing import SHARE_OF_TIME, written_pairs
from isometry.merging.average import average
from isometry.search.fusion import USUAL_WEIGHT
from isometry.search.lancedb import ChunkIndex, Lexical
from isometry.space_files import INDEX, MODEL
from isometry.training.plan import Plan


@contextmanager
def threads_as_before() -> Generator[None]:
    """A fit sets PyTorch's number of threads; afterwards the program's own is there again."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class Fitting:
    """One fit in its workspace.

    Args:
        work: Where every step leaves its result.
        source: What is read.
        settings: What the user decided.
        given_plan: The JSON of a plan to follow; None to make one.
    """

    def __init__(
        self, work: Workspace, source: Source, settings: FitSettings, given_plan: Any
    ) -> None:
        self.work = work
        self.settings = settings
        self._started = time.monotonic()
        self.given_plan = None if given_plan is None else Plan.from_json(given_plan)
        self._check_plan()
        # Reading the source may take minutes: what is wrong with the base is said before.
        check_prompts(self.base_encoder)
        check_same_model(work, self.base_encoder)
        self.nested = self._nested()
        self.seconds: dict[str, float] = work.json("seconds", dict)
        with self.phase("data"):
            self.data: Prepared = prepare(
                work,
                source,
                seed=settings.seed,
                queries=None if settings.queries is None else Path(settings.queries),
                judgements=None if settings.judgements is None else Path(settings.judgements),
                pairs=None if settings.pairs is None else Path(settings.pairs),
            )
        work.worth_keeping = True
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        self.documents = [document.id for document in self.data.documents]

    def _check_plan(self) -> None:
        """Refuses settings that the plan to follow decides otherwise, and another base."""
        plan, threads = self.given_plan, self.settings.threads
        if plan is None:
            return
        for option, said, planned in (
            ("--seed", self.settings.seed, plan.seed),
            ("--threads", plan.threads if threads is None else threads, plan.threads),
        ):
            if said != planned:
                raise InputError(
                    f"The plan was made for {option} {planned}, not {said}.",
                    f"Give {option} {planned}, or change that number in a copy of the plan.",
                )
        encoder, width = self.base_encoder, max(plan.dims)
        # Nested sizes are trained beside the whole, which is what this base is.
        apart = width != encoder.dim if plan.nested else width > encoder.dim
        if plan.layers != len(encoder.layers()) or apart:
            raise InputError(
                f"The plan is for an encoder of {plan.layers} layers and {width} dimensions, which"
                f" {self.settings.base} is not.",
                "Follow a plan that was made for this base.",
            )

    def _nested(self) -> tuple[Size, ...]:
        """The smaller sizes to train, which the base can be cut to."""
        asked, given = self.settings.nested, self.given_plan
        sizes = () if asked is None else read_sizes(asked)
        if given is not None:
            if asked is not None and sizes != given.nested:
                raise InputError(
                    f"--nested says {size_names(sizes)}, but the plan is for"
                    f" {size_names(given.nested) or 'no smaller sizes'}.",
                    "Leave out one of --nested and --plan.",
                )
            sizes = given.nested
        if sizes:
            check_finite(self.base_encoder)
            check_sizes(sizes, self.base_encoder)
        return sizes

    @contextmanager
    def phase(self, name: str) -> Generator[None]:
        """Counts the seconds of a phase; of one that was stopped, those of each run."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - start, 1)
            write_json(self.work.path / "seconds.json", self.seconds)

    # -- what the steps stand on ------------------------------------------------------------

    @cached_property
    def base_encoder(self) -> TextEncoder:
        """The encoder to start from."""
        return self.load_base()

    def load_base(self) -> TextEncoder:
        """The base, loaded anew, for what changes it."""
        return load_sound_text_encoder(
            self.settings.base,
            query_prompt=self.settings.query_prompt,
            document_prompt=self.settings.document_prompt,
        )

    @cached_property
    def hidden(self) -> Collection:
        """The documents without what queries were made from."""
        return self._passages("ranked", self.data.views)

    @cached_property
    def sample(self) -> Sample:
        """What of documents and queries the planned minutes allow; all where nothing is trained."""
        pool, queries = len(self.documents), sys.maxsize
        if not self.data.too_little:
            pool, queries = self.plan.pool, self.plan.queries
        return Sample(len(self.documents), pool, queries, self.settings.seed)

    @cached_property
    def ranked(self) -> Collection:
        """What the evaluation ranks: all documents so, or the planned sample with every answer."""
        sides = [self.asked(side) for side in self.data.questions]
        return self.hidden.only(self.sample.ranked(sides))

    def asked(self, side: str) -> Questions:
        """The queries of one side: all, or as many as are planned."""
        return self.sample.asked(self.data.questions[side])

    @cached_property
    def served(self) -> Collection:
        """The documents as the finished Space has them."""
        views = views_of(self.data.documents)
        return self._passages("served", views)

    def _passages(self, name: str, views: list[tuple[str, str]]) -> Collection:
        chunks = self.work.table(
            f"passages-{name}",
            lambda: ranking.passages_of(self.base_encoder, self.documents, views),
        )
        return ranking.collection(self.documents, chunks)

    @cached_property
    def plan(self) -> Plan:
        """What this machine can do in the minutes; from here on all is determined."""

        def make() -> Any:
            if self.given_plan is not None:
                return self.given_plan.to_json()
            # First, so that the time it takes is counted.
            _ = self.written
            with self.phase("plan"):
                say("Measuring this machine ...")
                return plan_for(
                    self.base_encoder,
                    self.data,
                    [*self.data.pairs, *self.written[0]],
                    self.hidden,
                    self.served,
                    minutes=self.settings.minutes,
                    seed=self.settings.seed,
                    # With what a run before this one took, which was killed.
                    spent=max(time.monotonic() - self._started, sum(self.seconds.values())),
                    nested=self.nested,
                ).to_json()

        plan = Plan.from_json(self.work.json("plan", make))
        torch.set_num_threads(plan.threads)
        return plan

    @cached_property
    def written(self) -> tuple[list[Pair], dict[str, Any]]:
        """Pairs whose queries a language model wrote, if there is one, and figures about them."""
        url, model = self.settings.query_writer, self.settings.query_model
        if url is None or model is None or self.data.too_little:
            return [], {}
        with self.phase("writing"):
            return written_pairs(
                self.work,
                self.data.documents,
                self.data.sides,
                OpenAIWriter(url, model),
                seed=self.settings.seed,
                seconds=60 * self.settings.minutes * SHARE_OF_TIME,
            )

    @cached_property
    def base(self) -> CachedEncoder:
        """The base with its vectors kept."""
        return self.cached(self.base_encoder)

    def cached(self, encoder: TextEncoder) -> CachedEncoder:
        """An encoder whose vectors are kept in the workspace, in the planned precision."""
        precision = "float32" if self.data.too_little else self.plan.precision
        return CachedEncoder(encoder, self.work.path / "vectors", precision)

    @cached_property
    def words(self) -> Lexical:
        """How words are matched, by the language of the documents."""
        facts = self.data.facts["profile"]
        return Lexical.for_language(word_language(facts["languages"], facts["kinds"]))

    def by_lexis(self, name: str, passages: Collection) -> ChunkIndex:
        """Passages, searchable by words."""
        folder = self.work.path / name
        if not folder.exists():
            ranking.build_index(folder, passages.chunks, None, self.words)
        return ChunkIndex.open(folder)

    # -- the steps --------------------------------------------------------------------------

    def announce(self) -> None:
        """Says what was found and what is planned."""
        facts = self.data.facts
        say(
            f"{facts['documents']:,} documents in {facts['files']:,} files"
            f" ({facts['skipped_count']:,} skipped); pairs: {facts['pairs']['task']},"
            f" because {facts['pairs']['why']}"
        )
        if self.data.too_little:
            say(
                f"Nothing will be trained{', no smaller size either' if self.nested else ''}:"
                f" {self.data.too_little}."
            )
            return
        plan = self.plan
        say(
            f"Plan: {plan.steps} steps of {plan.batch} pairs in {plan.precision},"
            f" about {sum(plan.estimate_seconds.values()) / 60:.1f} minutes with the final index."
        )
        if plan.nested:
            say(f"Besides the whole model, {size_names(plan.nested)} will be trained.")
        if plan.pool < len(self.documents):
            say(
                f"Validation and test rank a sample of {plan.pool:,} documents, since all would"
                " take too long for these minutes."
            )

    def by_words(self, side: str) -> Rankings:
        """What words find for the queries of one side."""
        found = self.work.table(
            f"lexical-{side}",
            lambda: ranking.lexical_rankings(
                self.by_lexis("lexical", self.ranked), self.documents, self.asked(side).queries
            ).to_table(),
        )
        return Rankings.from_table(found)

    def compare_before_training(self) -> dict[str, Any]:
        """Words, base and their fusion on validation."""
        if self.data.too_little:
            return {}

        def make() -> dict[str, Any]:
            with self.phase("base"):
                asked = self.asked("validation")
                words = self.by_words("validation")
                dense = self.base_found
                weight, best, grid = self.tune_fusion(dense, words)
                return {
                    "queries": len(asked.queries),
                    "documents": self.ranked.size,
                    "lexical": ranking.mean_score(words, asked.relevance),
                    "base": ranking.mean_score(dense, asked.relevance),
                    "fusion": grid,
                    "dense_weight": weight,
                    "shrunk_from": best,
                    "usual_weight": ranking.mean_score(
                        ranking.fused_rankings(self.documents, dense, words, USUAL_WEIGHT),
                        asked.relevance,
                    ),
                    "retention": gloss_retention(self.probe(self.base)),
                }

        return self.work.json("before", make)

    def build_index(self, choice: dict[str, Any]) -> dict[str, Any]:
        """Saves the chosen encoder and encodes everything as it will be served."""
        encoder = self.merged(choice["alpha"])
        with self.phase("index"):
            folder = self.work.path / "space"
            encoder.save(folder / MODEL)
            vectors = self.cached(encoder).encode(self.served.passages, title="Encoding the index")
            if not (folder / INDEX).exists():
                ranking.build_index(folder / INDEX, self.served.chunks, vectors, self.words)
            ChunkIndex.open(folder / INDEX).prepare_view()
        return {
            "chunks": len(self.served.owner),
            "truncated_documents": self.served.cut_off,
        }

    # -- their parts ------------------------------------------------------------------------

    def probe(self, encoder: CachedEncoder) -> Encode:
        """The encoder as the retention probes want it."""
        return lambda texts: encoder.encode(texts, title="Probing what the base knew")

    @cached_property
    def base_found(self) -> Rankings:
        """What the base finds for the validation queries."""
        return self.validate(self.base)

    @cached_property
    def base_scores(self) -> ranking.PerQuery:
        """What the base reaches on every validation query."""
        return score_rankings(self.base_found.order, self.asked("validation").relevance)

    def validate(self, encoder: CachedEncoder) -> Rankings:
        """What an encoder finds for the validation queries."""
        return ranking.dense_rankings(encoder, self.ranked, self.asked("validation").queries)

    def tune_fusion(
        self, dense: Rankings, words: Rankings
    ) -> tuple[float, float | None, list[dict[str, float]]]:
        """How much vectors count beside words; see `ranking.tune_fusion`."""
        known = self.asked("validation").relevance
        return ranking.tune_fusion(self.documents, dense, words, known, given=self.data.given)

    def merged(self, alpha: float) -> TextEncoder:
        """The encoder at a point of the line base .. tuned."""
        if alpha == 0:
            return self.base_encoder
        encoder = TextEncoder.load(self.work.path / "tuned")
        if alpha < 1:
            models = [self.base_encoder.state_dict(), encoder.state_dict()]
            encoder.load_state_dict(dict(average(models, [1 - alpha, alpha])))
        return encoder

    def cut(self, alpha: float, size: Size) -> CachedEncoder:
        """The encoder at a point of the line, cut to a nested size."""
        return self.cached(truncate(self.merged(alpha), *size))
