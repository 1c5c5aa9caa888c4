from __future__ import annotations

import numpy as np

from isometry.jobs.preparation import Questions
from isometry.jobs.sampling import Sample


def _questions(count: int, documents: int) -> Questions:
    """Query i is answered by the documents i and i + 1, all the way round."""
    return Questions(
        [f"query {row}" for row in range(count)],
        [{row % documents: 1, (row + 1) % documents: 2} for row in range(count)],
    )


def test_all_is_kept_where_there_is_time() -> None:
    questions = _questions(7, 30)
    sample = Sample(documents=30, pool=30, queries=7, seed=0)
    assert sample.asked(questions) is questions
    assert sample.ranked([questions]).all()


def test_a_sample_holds_every_answer_and_keeps_the_order_of_queries() -> None:
    questions = _questions(20, 200)
    sample = Sample(documents=200, pool=50, queries=6, seed=1)
    asked = sample.asked(questions)
    numbers = [int(query.split()[1]) for query in asked.queries]
    assert len(numbers) == 6 and numbers == sorted(numbers) != list(range(6))
    assert asked.relevance == [questions.relevance[number] for number in numbers]
    ranked = sample.ranked([asked, _questions(3, 200)])
    answers = {row for known in asked.relevance for row in known} | {0, 1, 2, 3}
    assert ranked.sum() == 50 and ranked[list(answers)].all()
    assert not np.array_equal(ranked, Sample(200, 50, 6, 2).ranked([asked]))
    np.testing.assert_array_equal(ranked, sample.ranked([asked, _questions(3, 200)]))


def test_answers_are_kept_even_where_they_are_more_than_the_pool() -> None:
    questions = _questions(40, 100)
    ranked = Sample(documents=100, pool=10, queries=40, seed=0).ranked([questions])
    np.testing.assert_array_equal(np.flatnonzero(ranked), np.arange(41))
