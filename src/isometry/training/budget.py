"""What a number of minutes buys on this machine: measured once, and made a plan."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from isometry.encoders.sizes import Size
from isometry.encoders.surgery.layers import truncate
from isometry.encoders.surgery.prompts import prompt_tokens
from isometry.encoders.text import TextEncoder
from isometry.learners.two_towers import PairRow
from isometry.training.plan import Plan, make_learner, speed_key
from isometry.training.speed import Stopwatch, encode_speeds, step_seconds, worthwhile_precision

# More passes over few pairs cost what the base knew, and validation gains nothing by them.
_MOST_EPOCHS = 4
_FEWEST_STEPS = 10
# The most of the minutes that it takes to encode what is ranked.
_EVALUATION = 0.4
_SMALLEST_POOL = 200
# Where a sample is ranked: documents for each query of a side, so that half are no answers.
_RANKED = 4
# Where there are very many pairs: so many are compared for each that is trained on.
_COMPARED = 2
# Half of the way to the tuned weights answers people's questions better than all of it, on each of
# three corpora (docs/ablations.md), though queries made from headings or sentences say otherwise.
HALF = (0.5,)
# Where validation asks in people's own words, it may choose.
HALF_OR_ALL = (0.5, 1.0)
# What lies inside a base is no vector of its own: half of the way there makes half a small size.
_NESTED_ALPHAS = (1.0,)
# Where training cuts passages at first: twice as many steps teach more than twice the length, until
# every pair was seen so often. What time is left then reads passages to their end, which teaches
# more than seeing the pairs again (docs/ablations.md).
_FIRST_PASSAGE_TOKENS = 128
_EPOCHS_BEFORE_LENGTH = 2


@dataclass(frozen=True)
class Workload:
    """What there is to do, counted before anything is encoded.

    Attributes:
        rows: Training pairs, without negatives.
        passage_tokens: The length of every passage that could be ranked.
        first_tokens: The length of the first passage of every document that is trained on.
        query_lengths: The length of every query.
        queries: How many queries validation or test has, whichever has more.
        served_tokens: Tokens of the final index.
        probe_tokens: Tokens of one retention probe.
        documents: How many documents there are.
        spent: Seconds that went by before planning.
    """

    rows: Sequence[PairRow]
    passage_tokens: Sequence[int]
    first_tokens: Sequence[int]
    query_lengths: Sequence[int]
    queries: int
    served_tokens: int
    probe_tokens: int
    documents: int
    spent: float


def nested_dims(dim: int) -> tuple[int, ...]:
    """The full width and its halves down to an eighth, at least 32."""
    return tuple(width for width in (dim, dim // 2, dim // 4, dim // 8) if width >= min(32, dim))


def suitable_temperature(
    queries: Float[np.ndarray, "queries dim"], documents: Float[np.ndarray, "documents dim"]
) -> float:
    """The temperature at which a contrast continues what a base was trained with.

    Half of the standard deviation of a query's scores over unrelated documents. Encoders differ
    in how far they spread their vectors: 0.1 for MiniLM, which was trained at a temperature of
    0.05, and 0.02 for multilingual E5, which was trained at 0.01. At the other's temperature a
    base would first have to change its scale, and that is all that it would learn in a few steps.

    Args:
        queries: Unit vectors of the base.
        documents: The same; most of them answer none of the queries.

    Returns:
        A value from 0.005 to 0.1, with two digits that count.
    """
    spread = float((queries @ documents.T).std(axis=1).mean())
    return float(f"{min(0.1, max(0.005, spread / 2)):.2g}")


def make_plan(
    encoder: TextEncoder,
    work: Workload,
    *,
    minutes: float,
    seed: int,
    batch: int = 32,
    learning_rate: float = 5e-5,
    temperature: float = 0.05,
    alphas: Sequence[float] = HALF,
    nested: Sequence[Size] = (),
    clock: Callable[[], float] = time.perf_counter,
) -> Plan:
    """Measures this machine on the user's own texts and fills the minutes with training.

    Args:
        encoder: The base encoder; left as it was.
        work: What there is to do.
        minutes: For everything but the final index.
        seed: Of every random choice that follows.
        batch: Pairs a step.
        learning_rate: The peak.
        temperature: Of the contrast.
        alphas: The points on the line base .. tuned that validation may choose from, where there
            are no smaller sizes.
        nested: The smaller sizes to train; see `check_sizes`.
        clock: Seconds; replaced in tests.
    """
    watch = Stopwatch(clock)
    lengths = np.array(work.passage_tokens)
    # A prompt takes no room of the text.
    asking, answering = (prompt_tokens(encoder, role) for role in ("query", "document"))
    query_tokens = _round_up(
        np.quantile(work.query_lengths, 0.95), 8, 16, min(64 + asking, encoder.max_tokens)
    )
    passage_tokens = _round_up(
        np.median(lengths),
        32,
        min(64 + answering, encoder.max_tokens),
        min(_FIRST_PASSAGE_TOKENS + answering, encoder.max_tokens),
    )
    batch = min(batch, max(2, len({row.key for row in work.rows}) // 2))
    sample = [row.document for row in work.rows[:24]]
    speeds = encode_speeds(encoder, sample, watch)
    precision = worthwhile_precision(speeds)
    speed = speeds[precision]

    layers = len(encoder.layers())
    draft = Plan(
        minutes=minutes,
        seed=seed,
        steps=1,
        batch=batch,
        precision=precision,
        query_tokens=query_tokens,
        passage_tokens=passage_tokens,
        frozen_layers=0,
        layers=layers,
        learning_rate=learning_rate,
        temperature=temperature,
        dims=(encoder.dim,) if nested else nested_dims(encoder.dim),
        alphas=_NESTED_ALPHAS if nested else tuple(alphas),
        pool=work.documents,
        queries=max(1, work.queries),
        pairs=len(work.rows),
        pairs_to_be_seen=0,
        epochs=0.0,
        threads=torch.get_num_threads(),
        measured={},
        estimate_seconds={},
        nested=tuple(nested),
    )
    seconds_a_step = _step_seconds(encoder, draft, 0, work.rows, watch)
    measured = {
        "encode_tokens_per_second_float32": round(speeds["float32"]),
        "encode_tokens_per_second_bfloat16": round(speeds["bfloat16"]),
        "seconds_a_step": round(seconds_a_step, 3),
    }
    # What it takes to encode at the nested sizes too, as a multiple of the whole alone.
    cost = 1.0
    for size in nested:
        own = encode_speeds(truncate(encoder, *size), sample, watch)[precision]
        measured[speed_key(size)] = round(own)
        cost += speed / own

    # The base and every point of the line encode what is ranked. Where all documents would take
    # more than their share of the minutes, validation and test rank a sample.
    rounds = (1 + len(draft.alphas)) * cost
    documents_a_second = speed * work.documents / max(1.0, float(lengths.sum()))
    ranked_in_time = _EVALUATION * 60 * minutes * documents_a_second / rounds
    pool = min(work.documents, max(_SMALLEST_POOL, int(ranked_in_time)))
    queries = draft.queries
    if pool < work.documents:
        queries = min(queries, pool // _RANKED)
    one_pool = pool / documents_a_second
    probe = work.probe_tokens / speed
    asked = queries * query_tokens / speed
    estimate = {
        "base": one_pool + asked + 2 * probe,
        "selection": len(draft.alphas) * ((one_pool + asked) * cost + probe)
        + (one_pool + asked) * (cost - 1),
        # What was chosen has been encoded; the queries are new.
        "test": 2 * asked * cost + probe,
    }
    left = 60 * minutes - work.spent - watch.total - sum(estimate.values())

    # Batches compare the first passages of what is trained on, most of which no sample holds.
    first_tokens = 0.0 if pool == work.documents else float(np.mean(work.first_tokens))
    compare_one = (query_tokens + first_tokens) / speed
    pairs_in_time = int(left / (compare_one + seconds_a_step / batch / _COMPARED))
    pairs = min(len(work.rows), max(_FEWEST_STEPS * batch, pairs_in_time))
    estimate["batches"] = pairs * compare_one
    left -= estimate["batches"]

    most = math.ceil(_MOST_EPOCHS * pairs / batch)
    frozen = 0
    # What lies below is what small sizes are made of.
    if not nested and left / seconds_a_step < math.ceil(pairs / batch):
        # Half the layers train nearly twice as fast: worth it where time, not data, is short.
        frozen = layers // 2
        seconds_a_step = _step_seconds(encoder, draft, frozen, work.rows, watch)
        measured["seconds_a_step_upper_half"] = round(seconds_a_step, 3)
    elif (affordable := left / math.ceil(_EPOCHS_BEFORE_LENGTH * pairs / batch)) > seconds_a_step:
        longest = _round_up(np.quantile(lengths, 0.95), 32, passage_tokens, encoder.max_tokens)
        if longest > passage_tokens:
            whole = replace(draft, passage_tokens=longest)
            seconds = _step_seconds(encoder, whole, 0, work.rows, watch)
            measured["seconds_a_step_longest"] = round(seconds, 3)
            passage_tokens, seconds_a_step = _longer(
                (passage_tokens, seconds_a_step), (longest, seconds), affordable
            )
    steps = min(most, max(_FEWEST_STEPS, int(left / seconds_a_step)))
    estimate["training"] = steps * seconds_a_step
    estimate["index"] = work.served_tokens / speed
    return Plan(
        **{
            **asdict(draft),
            "steps": steps,
            "frozen_layers": frozen,
            "passage_tokens": passage_tokens,
            "pool": pool,
            "queries": queries,
            "pairs": pairs,
            "pairs_to_be_seen": steps * batch,
            "epochs": round(steps * batch / pairs, 2),
            "measured": measured,
            "estimate_seconds": {phase: round(value, 1) for phase, value in estimate.items()},
        }
    )


def _round_up(value: float, step: int, low: int, high: int) -> int:
    return int(min(high, max(low, math.ceil(value / step) * step)))


def _longer(
    short: tuple[int, float], long: tuple[int, float], affordable: float
) -> tuple[int, float]:
    """Where to cut passages, and the seconds of a step then: between two that were measured.

    Args:
        short: A length, and seconds that can be afforded.
        long: A greater length.
        affordable: Seconds.

    Returns:
        The greatest length, in steps of 32 tokens, that can be afforded, if seconds grow evenly.
    """
    if long[1] <= affordable:
        return long
    slope = (long[1] - short[1]) / (long[0] - short[0])
    more = int((affordable - short[1]) / slope / 32) * 32
    return short[0] + more, short[1] + more * slope


def _step_seconds(
    encoder: TextEncoder, draft: Plan, frozen: int, rows: Sequence[PairRow], watch: Stopwatch
) -> float:
    """Seconds of one optimiser step on a copy."""
    plan = replace(draft, frozen_layers=frozen)

    def batch(number: int) -> list[PairRow]:
        some = [rows[(number * plan.batch + i) % len(rows)] for i in range(plan.batch)]
        return [PairRow(row.query, row.document, i) for i, row in enumerate(some)]

    return step_seconds(
        make_learner(copy.deepcopy(encoder), plan),
        [batch(number) for number in range(3)],
        watch,
        learning_rate=plan.learning_rate,
        bfloat16=plan.precision == "bfloat16",
    )
