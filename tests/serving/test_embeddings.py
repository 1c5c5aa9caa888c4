"""OpenAI's own client against a real server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import openai
import pytest
from running import Running

from isometry import Space
from isometry.encoders.static import StaticEncoder
from isometry.encoders.text import TextEncoder

QUESTION = "how do I rotate the keys"
LONG = "word " * 200


@pytest.fixture(scope="module")
def client(server: Running) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0)


def vectors(answer: openai.types.CreateEmbeddingResponse) -> np.ndarray:
    assert [each.index for each in answer.data] == list(range(len(answer.data)))
    return np.array([each.embedding for each in answer.data], dtype=np.float32)


def test_vectors_are_those_of_the_space(client: openai.OpenAI, tiny_space: Path) -> None:
    space = Space.open(tiny_space)
    texts = [QUESTION, "a", "Keys are rotated.\n\n\tEvery month.", "語 é 😀", "a"]
    answer = client.embeddings.create(model="docs", input=texts)
    alone = np.concatenate([space.encode([text], "document") for text in texts])
    np.testing.assert_allclose(vectors(answer), alone, atol=1e-5)
    assert answer.model == "docs"
    assert answer.object == "list"
    assert answer.usage.prompt_tokens == sum(space.encoder.lengths(texts, "document"))
    assert answer.usage.total_tokens == answer.usage.prompt_tokens


def test_one_text_floats_and_base64_are_the_same(client: openai.OpenAI) -> None:
    one = client.embeddings.create(model="docs", input=QUESTION, encoding_format="float")
    raw = client.embeddings.create(model="docs", input=QUESTION, encoding_format="base64")
    # Asked for in so many words, the client leaves it as it comes.
    assert isinstance(raw.data[0].embedding, str)
    import base64

    decoded = np.frombuffer(base64.b64decode(raw.data[0].embedding), dtype="<f4")
    assert np.array_equal(decoded, vectors(one)[0])
    assert np.array_equal(
        vectors(client.embeddings.create(model="docs", input=[QUESTION])), vectors(one)
    )


def test_the_prompt_is_that_of_the_input_type(client: openai.OpenAI, prompted: TextEncoder) -> None:
    for role in ("query", "document"):
        answer = client.embeddings.create(
            model="prompted", input=QUESTION, extra_body={"input_type": role}
        )
        np.testing.assert_allclose(vectors(answer), prompted.encode([QUESTION], role), atol=1e-5)
        assert answer.usage.prompt_tokens == prompted.lengths([QUESTION], role)[0]
    plain = client.embeddings.create(model="prompted", input=QUESTION)
    assert np.array_equal(vectors(plain), vectors(answer))


def test_token_ids_are_read_as_they_are(client: openai.OpenAI, prompted: TextEncoder) -> None:
    text = prompted.prompts["document"] + QUESTION
    ids = prompted.tokenizer.encode(text).ids
    one = client.embeddings.create(model="prompted", input=ids)
    two = client.embeddings.create(model="prompted", input=[ids, ids[:4]])
    expected = prompted.encode([QUESTION], "document")
    np.testing.assert_allclose(vectors(one), expected, atol=1e-5)
    np.testing.assert_allclose(vectors(two)[:1], expected, atol=1e-5)
    assert two.usage.prompt_tokens == len(ids) + 4


def test_dimensions_cut_and_give_length_one_again(client: openai.OpenAI, tiny_space: Path) -> None:
    whole = Space.open(tiny_space).encode([QUESTION], "document")
    answer = client.embeddings.create(model="docs", input=QUESTION, dimensions=32)
    cut = whole[:, :32] / np.linalg.norm(whole[:, :32])
    np.testing.assert_allclose(vectors(answer), cut, atol=1e-5)
    full = client.embeddings.create(model="docs", input=QUESTION, dimensions=64)
    np.testing.assert_allclose(vectors(full), whole, atol=1e-5)
    # Nothing is known of a model by itself, so any width is given.
    assert vectors(client.embeddings.create(model="table", input="a key", dimensions=7)).shape == (
        1,
        7,
    )


def test_a_table_serves_as_well(client: openai.OpenAI, static_folder: Path) -> None:
    table = StaticEncoder.load(static_folder)
    texts = [QUESTION, LONG]
    answer = client.embeddings.create(model="table", input=texts)
    np.testing.assert_allclose(vectors(answer), table.encode(texts), atol=1e-5)


def test_what_is_too_long_is_cut_only_when_asked(client: openai.OpenAI, tiny_space: Path) -> None:
    with pytest.raises(openai.BadRequestError, match=r"202 tokens; this model reads 128") as caught:
        client.embeddings.create(model="docs", input=["short", LONG])
    assert (caught.value.code, caught.value.param) == ("too_many_tokens", "input.1")
    answer = client.embeddings.create(model="docs", input=LONG, extra_body={"truncate": True})
    expected = Space.open(tiny_space).encode([LONG], "document")
    np.testing.assert_allclose(vectors(answer), expected, atol=1e-5)
    assert answer.usage.prompt_tokens == 128
    # That it was cut once does not let it pass now.
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model="docs", input=LONG)


def test_the_client_understands_every_refusal(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.embeddings.create(model="text-embedding-3-small", input="a")
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    assert "docs, prompted, table" in str(unknown.value)
    for dimensions, code in ((65, "dimensions_beyond_model"), (0, "dimensions_beyond_model"),
                             (33, "dimensions_not_nested")):  # fmt: skip
        with pytest.raises(openai.BadRequestError) as refused:
            client.embeddings.create(model="docs", input="a", dimensions=dimensions)
        assert (refused.value.code, refused.value.param) == (code, "dimensions")
        assert refused.value.type == "invalid_request_error"
    for given, param in (("", "input"), ([], "input"), (["a", ""], "input.1"), ([[]], "input.0")):
        with pytest.raises(openai.BadRequestError) as empty:
            client.embeddings.create(model="docs", input=given)
        assert (empty.value.code, empty.value.param) == ("empty_input", param)
    for ids in ([10**6], [-1], [[1, 2], [10**6]], [2**64], [[1], [-(2**64)]]):
        with pytest.raises(openai.BadRequestError) as foreign:
            client.embeddings.create(model="docs", input=ids)
        assert foreign.value.code == "unknown_token"


def test_models_are_listed_as_openai_lists_them(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["docs", "prompted", "table"]
    assert client.models.retrieve("docs").owned_by == "isometry"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nope")


def test_many_at_once_get_each_their_own(server: Running, tiny_space: Path) -> None:
    texts = [f"{QUESTION} {'again ' * (number % 7)}{number}" for number in range(40)]
    expected = Space.open(tiny_space).encode(texts, "document")

    async def ask() -> list[np.ndarray]:
        async with openai.AsyncOpenAI(base_url=f"{server.address}/v1", api_key="none") as client:
            answers = await asyncio.gather(
                *(client.embeddings.create(model="docs", input=text) for text in texts)
            )
            return [vectors(answer)[0] for answer in answers]

    np.testing.assert_allclose(np.array(asyncio.run(ask())), expected, atol=1e-5)
