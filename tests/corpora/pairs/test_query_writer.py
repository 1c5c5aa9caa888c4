from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from query_server import QueryServer, Reply, completion, failure, serving

from isometry.core.errors import InputError
from isometry.corpora.pairs.query_writer import Answer, OpenAIWriter, check_url

PROMPTS = [f"prompt {number}" for number in range(9)]


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ISOMETRY_QUERY_KEY", "OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_CUSTOM_HEADERS"):
        monkeypatch.delenv(name, raising=False)


def asked(server: QueryServer, prompts: list[str], **options: float) -> list[Answer]:
    writer = OpenAIWriter(server.url, "writer", **{"retries": 0, **options})  # type: ignore[arg-type]
    return sorted(writer.ask(prompts, 30), key=lambda answer: answer.number)


def refusal(url: str, model: str = "writer") -> str:
    with pytest.raises(InputError) as caught:
        OpenAIWriter(url, model, timeout=5, retries=1).check()
    return str(caught.value)


def test_every_prompt_is_asked_once_and_answered_by_its_own_answer() -> None:
    with serving(lambda prompt: completion(prompt.upper())) as server:
        OpenAIWriter(server.url, "writer").check()
        answers = asked(server, PROMPTS, concurrency=4)
    assert answers == [Answer(number, text.upper()) for number, text in enumerate(PROMPTS)]
    assert Counter(server.prompts) == Counter(PROMPTS)


def test_no_more_requests_in_flight_than_allowed() -> None:
    inside: list[str] = []
    most = 0

    def reply(prompt: str) -> Reply:
        nonlocal most
        inside.append(prompt)
        most = max(most, len(inside))
        server.released.wait(0.02)
        inside.remove(prompt)
        return completion("a b")

    with serving(reply) as server:
        asked(server, PROMPTS, concurrency=3)
    assert most == 3


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_in_trouble_is_asked_again(status: int) -> None:
    def reply(prompt: str) -> Reply:
        return failure(status) if server.prompts.count(prompt) < 3 else completion("a b")

    with serving(reply) as server:
        assert asked(server, PROMPTS[:3], retries=2) == [Answer(n, "a b") for n in range(3)]
        server.prompts.clear()
        assert asked(server, PROMPTS[:1], retries=1) == [Answer(0, None, f"HTTP {status}")]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (completion(""), Answer(0, "")),
        (completion(None), Answer(0, "")),
        (completion(7), Answer(0, None, "no chat completion in the answer")),
        (completion(["a"]), Answer(0, None, "no chat completion in the answer")),
        (Reply(body=b'{"choices": [{"mess'), Answer(0, None, "no chat completion in the answer")),
        (Reply(body=b'{"choices": []}'), Answer(0, None, "no chat completion in the answer")),
        (Reply(body=b"[1]"), Answer(0, None, "no chat completion in the answer")),
        (Reply(body=b"[" * 10**5), Answer(0, None, "no chat completion in the answer")),
        (
            Reply(body=b"<html>", headers={"content-type": "text/html"}),
            Answer(0, None, "no chat completion in the answer"),
        ),
        (failure(400), Answer(0, None, "HTTP 400")),
        (Reply(body=b"", trickle=True), Answer(0, None, "no answer in time")),
    ],
)
def test_whatever_the_server_answers_costs_one_answer(reply: Reply, expected: Answer) -> None:
    with serving(lambda prompt: reply if "0" in prompt else completion("a b")) as server:
        answers = asked(server, PROMPTS[:2], timeout=0.5 if reply.trickle else 20)
    assert answers == [expected, Answer(1, "a b")]


def test_a_silent_server_is_left_after_the_time_out_and_all_after_the_seconds() -> None:
    def reply(prompt: str) -> Reply:
        server.released.wait()
        return completion("late")

    with serving(reply) as server:
        assert asked(server, PROMPTS[:1], timeout=0.3) == [Answer(0, None, "no answer in time")]
        assert list(OpenAIWriter(server.url, "writer").ask(PROMPTS, 0.3)) == []


def test_what_is_in_flight_is_given_up_when_nobody_wants_more() -> None:
    def reply(prompt: str) -> Reply:
        if prompt != PROMPTS[0]:
            server.released.wait()
        return completion("a b")

    with serving(reply) as server:
        answers = OpenAIWriter(server.url, "writer").ask(PROMPTS, 60)
        assert next(answers) == Answer(0, "a b")
        answers.close()
        assert len(server.prompts) <= 5


def test_it_works_inside_an_event_loop() -> None:
    async def notebook(server: QueryServer) -> list[Answer]:
        OpenAIWriter(server.url, "writer").check()
        return asked(server, PROMPTS[:1])

    with serving(lambda _: completion("a b")) as server:
        assert asyncio.run(notebook(server)) == [Answer(0, "a b")]


@pytest.mark.parametrize("models", [True, False])
def test_a_redirect_to_another_host_is_not_followed(models: bool) -> None:
    with serving(lambda _: completion("stolen")) as other:

        def away(path: str) -> Reply:
            return Reply(307, headers={"location": f"http://localhost:{other.server_port}{path}"})

        with serving(
            lambda _: away("/v1/chat/completions"), away("/v1/models") if models else None
        ) as server:
            assert asked(server, PROMPTS[:1]) == [Answer(0, None, "HTTP 307")]
            if models:
                assert "redirects to another address (HTTP 307)" in refusal(server.url)
        assert other.requests == []


def test_no_proxy_sees_what_goes_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        serving(lambda _: completion("a b")) as server,
        serving(lambda _: completion("seen")) as proxy,
    ):
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url.removesuffix("/v1"))
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        assert asked(server, PROMPTS[:1]) == [Answer(0, "a b")]
        assert proxy.requests == []


def test_a_model_that_does_not_exist_names_those_that_do() -> None:
    names = [*(f"model-{number}" for number in range(12)), "evil\x1b[2J"]
    for status in (400, 404):
        with serving(lambda _, status=status: failure(status), names) as server:
            message = refusal(server.url, "mode")
            assert "knows no model named mode. It lists: model-0, model-1" in message
            assert "model-9, and 3 more." in message
        with serving(lambda _, status=status: failure(status), names[-1:]) as server:
            assert "\x1b" not in refusal(server.url, "mode")


def test_a_listed_model_is_believed_and_another_one_is_tried() -> None:
    with serving(lambda _: completion("yes")) as server:
        OpenAIWriter(server.url, "writer").check()
        assert server.prompts == []
        # As `llama3` where `llama3:latest` is listed.
        OpenAIWriter(server.url, "another").check()
        assert len(server.prompts) == 1
        for models in (Reply(404), Reply(body=b"{"), Reply(body=b'{"data": null}'), []):
            server.models = models
            OpenAIWriter(server.url, "another").check()


@pytest.mark.parametrize("status", [404, 500])
def test_what_cannot_be_used_says_so(status: int) -> None:
    with serving(lambda _: failure(status), Reply(404)) as server:
        assert f"HTTP {status}" in refusal(server.url)
        assert f"HTTP {status}" in refusal(server.url.removesuffix("/v1"))
    assert "no connection. Is the server running?" in refusal(server.url)
    with serving(lambda _: Reply(body=b"null"), Reply(404)) as server:
        assert "no chat completion" in refusal(server.url)


def test_the_key_goes_to_the_server_and_into_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOMETRY_QUERY_KEY", "secret-key\n")
    with serving(lambda _: completion("a b")) as server:
        OpenAIWriter(server.url, "writer").check()
        asked(server, PROMPTS[:1])
        assert [headers["authorization"] for _, headers in server.requests] == [
            "Bearer secret-key",
            "Bearer secret-key",
        ]
        server.models = Reply(401, b'{"error": {"message": "Incorrect key: secret-key"}}')
        message = refusal(server.url)
        assert "HTTP 401" in message
        assert "ISOMETRY_QUERY_KEY" in message
        assert "secret" not in message
        assert "secret" not in repr(vars(OpenAIWriter(server.url, "writer")))


def test_the_key_for_openai_goes_to_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    monkeypatch.setenv("OPENAI_ORG_ID", "secret-organization")
    with serving(lambda _: completion("a b")) as server:
        asked(server, PROMPTS[:1])
        assert "secret" not in repr(server.requests)
    writer = OpenAIWriter("https://api.openai.com/v1", "writer")
    assert writer._client().api_key == "secret-key"  # pyright: ignore[reportPrivateUsage]
    for url in ("http://api.openai.com/v1", "https://openai.com.evil.org", "https://notopenai.com"):
        client = OpenAIWriter(url, "writer")._client()  # pyright: ignore[reportPrivateUsage]
        assert client.api_key != "secret-key"


@pytest.mark.parametrize("key", ["schlüssel-geheim", "geheim\nx-other: 1"])
def test_a_key_that_no_header_can_carry(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("ISOMETRY_QUERY_KEY", key)
    with pytest.raises(InputError, match="ISOMETRY_QUERY_KEY") as caught:
        OpenAIWriter("http://localhost:1/v1", "writer")
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:11434/v1",
        "ftp://host/v1",
        "file:///etc/passwd",
        "http://",
        "http://host:port",
        "http://[::1/v1",
        "https://user:geheim@host/v1",
        "https://geheim@host/v1",
        "https://host/v1?key=geheim",
        "https://host/v1#geheim",
    ],
)
def test_addresses_that_are_refused(url: str) -> None:
    with pytest.raises(InputError, match="address of the query writer") as caught:
        OpenAIWriter(url, "writer")
    assert "geheim" not in str(caught.value)


def test_addresses_that_are_taken() -> None:
    for url in ("http://[::1]:8080/v1", "https://host", "HTTP://localhost:11434/v1/"):
        assert check_url(url).hostname
