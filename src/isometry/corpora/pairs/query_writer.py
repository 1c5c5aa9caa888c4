"""A language model behind an OpenAI-compatible address, asked many things at a time."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from isometry.core.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

KEY = "ISOMETRY_QUERY_KEY"
OPENAI_KEY = "OPENAI_API_KEY"
_MOST_LISTED = 10


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one prompt.

    Attributes:
        number: The position of the prompt.
        text: What the model said; may be empty. None where nothing usable came.
        error: Why not, in a few words.
    """

    number: int
    text: str | None
    error: str = ""


class OpenAIWriter:
    """Asks a model through chat completions (llama.cpp, vLLM, Ollama, LM Studio, OpenAI...).

    Prompts go to this one address and nowhere else: redirects are not followed, and to this
    machine no proxy is used. A key is read from the environment at each use and kept nowhere:
    ISOMETRY_QUERY_KEY goes to any address, OPENAI_API_KEY only to OpenAI's own.

    Args:
        url: The address that `/chat/completions` is appended to; ends in /v1 as a rule.
        model: The name by which the server knows the model.
        timeout: Seconds that one attempt may take.
        retries: Further attempts after HTTP 408, 409, 429 or 5xx, a time-out or a lost connection.
        concurrency: Requests in flight at a time.

    Raises:
        InputError: When the address is none of HTTP, or holds a password or a query string, which
            would end up in files.
        MissingExtraError: When the package `openai` is not installed.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        timeout: float = 60.0,
        retries: int = 2,
        concurrency: int = 4,
    ) -> None:
        self.url = url.strip().rstrip("/")
        self.model = model
        self.timeout = timeout
        self.retries = retries
        self.concurrency = concurrency
        self._parts = check_url(self.url)
        _key(self._parts)
        try:
            import openai  # noqa: F401
        except ImportError:
            raise MissingExtraError("openai", "writer") from None

    def check(self) -> None:
        """Makes sure that the server answers and knows the model; sends it no document.

        Where the model is not on the server's list, or there is no list, the model is asked to say
        a word: some servers know more names than they list.

        Raises:
            InputError: When that is not so.
        """
        from anyio.from_thread import start_blocking_portal

        # In a thread of its own: the caller may be in an event loop, as a notebook is.
        with start_blocking_portal() as portal:
            portal.call(self._check)

    def ask(self, prompts: Sequence[str], seconds: float) -> Generator[Answer]:
        """Yields what comes of the prompts, as it comes.

        Ends when all were answered or the seconds are over; what is in flight then, or when the
        iterator is closed, is given up.
        """
        from anyio.from_thread import start_blocking_portal

        answers: SimpleQueue[Answer | None] = SimpleQueue()
        with start_blocking_portal() as portal:
            asking = portal.start_task_soon(self._ask, prompts, seconds, answers.put)
            while (answer := answers.get()) is not None:
                yield answer
            asking.result()

    async def _ask(
        self, prompts: Sequence[str], seconds: float, put: Callable[[Answer | None], None]
    ) -> None:
        from anyio import create_task_group, move_on_after

        left = iter(enumerate(prompts))

        async def work() -> None:
            for number, prompt in left:
                put(await self._answer(client, number, prompt))

        try:
            async with self._client() as client:
                with move_on_after(seconds):
                    async with create_task_group() as group:
                        for _ in range(self.concurrency):
                            group.start_soon(work)
        finally:
            put(None)

    async def _answer(self, client: AsyncOpenAI, number: int, prompt: str) -> Answer:
        try:
            return Answer(number, await self._complete(client, prompt, 1 + self.retries))
        except Exception as error:  # Whatever a server sends, it costs one answer and not the fit.
            return Answer(number, None, _reason(error))

    async def _complete(self, client: AsyncOpenAI, prompt: str, attempts: int) -> str:
        """The text that the model gives to a prompt.

        Nothing but model and prompt is sent: servers differ in which options they refuse.
        """
        from anyio import fail_after

        # The client's own limit starts anew with every byte, so a trickle would never end.
        with fail_after(attempts * self.timeout):
            completion: Any = await client.chat.completions.create(
                model=self.model, messages=[{"role": "user", "content": prompt}]
            )
        try:
            content = completion.choices[0].message.content
        except (AttributeError, IndexError, TypeError):
            raise ValueError("no chat completion") from None
        if not isinstance(content, str | None):
            raise ValueError("no chat completion")
        return content or ""

    async def _check(self) -> None:
        from openai import APIStatusError

        async with self._client() as client:
            known: list[str] = []
            try:
                known = await self._models(client)
                if self.model not in known:
                    await self._complete(client, "Reply with one word.", 1)
            except APIStatusError as error:
                raise self._refusal(error, known) from None
            except Exception as error:
                raise InputError(
                    f"{self.url} cannot be used to write queries: {_reason(error)}.",
                    "Is the server running? Its address ends in /v1 as a rule.",
                ) from None

    async def _models(self, client: AsyncOpenAI) -> list[str]:
        """The names of the server's models; none where it has no list."""
        from anyio import fail_after
        from openai import APIStatusError

        try:
            with fail_after(self.timeout):
                page: Any = await client.models.list()
        except APIStatusError as error:
            if error.status_code in (404, 405, 501):
                return []
            raise
        except (ValueError, RecursionError):
            return []
        models = getattr(page, "data", None)
        if not isinstance(models, list):
            return []
        names = [getattr(model, "id", None) for model in models]
        return [name for name in names if isinstance(name, str)]

    def _refusal(self, error: APIStatusError, known: Sequence[str]) -> InputError:
        status = error.status_code
        if 300 <= status < 400:
            return InputError(
                f"{self.url} redirects to another address (HTTP {status}), which is not followed.",
                "Give the address that it leads to, if documents may be sent there.",
            )
        if status in (401, 403):
            return InputError(
                f"{self.url} refuses the key, or the lack of one (HTTP {status}).",
                f"Put its key into the environment variable {KEY}.",
            )
        if status in (400, 404, 422) and known:
            # From the server, for a terminal.
            names = ["".join(filter(str.isprintable, name))[:100] for name in known[:_MOST_LISTED]]
            more = len(known) - len(names)
            return InputError(
                f"{self.url} knows no model named {self.model}.",
                f"It lists: {', '.join(names)}" + (f", and {more} more." if more else "."),
            )
        return InputError(
            f"{self.url} cannot be used to write queries: HTTP {status}.",
            "Its address ends in /v1 as a rule; is the model named as the server names it?",
        )

    def _client(self) -> AsyncOpenAI:
        from openai import AsyncOpenAI, DefaultAsyncHttpx2Client

        # Other people's servers need not know whose account at OpenAI this is.
        account = None if _is_openai(self._parts) else ""
        return AsyncOpenAI(
            base_url=self.url,
            api_key=_key(self._parts) or "none",
            organization=account,
            project=account,
            timeout=self.timeout,
            max_retries=self.retries,
            http_client=DefaultAsyncHttpx2Client(
                follow_redirects=False, trust_env=not _is_loopback(self._parts)
            ),
        )


def check_url(url: str) -> SplitResult:
    """Takes the address of a server apart.

    Raises:
        InputError: When it is none of HTTP, or holds a password or a query string, which would end
            up in files.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, usable = None, False
    # Not repeated in the message: it may hold a password.
    if parts is None or not usable:
        raise InputError(
            "The address of the query writer is none that starts with http:// or https://.",
            "Give one like http://localhost:11434/v1.",
        )
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise InputError(
            "The address of the query writer holds a name, a password or a query string.",
            f"Give it without; a key belongs into the environment variable {KEY}.",
        )
    return parts


def _is_openai(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    return parts.scheme == "https" and (host == "openai.com" or host.endswith(".openai.com"))


def _is_loopback(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _key(parts: SplitResult) -> str:
    """The key for a server, or an empty one.

    Raises:
        InputError: When it cannot be sent.
    """
    name = KEY if os.environ.get(KEY) or not _is_openai(parts) else OPENAI_KEY
    key = os.environ.get(name, "").strip()
    if not (key.isascii() and (not key or key.isprintable())):
        raise InputError(f"The key in {name} holds characters that no key has.", "Set it anew.")
    return key


def _reason(error: Exception) -> str:
    """What went wrong in a few words, none of them the server's: those may repeat the key."""
    from openai import APIConnectionError, APIStatusError, APITimeoutError

    if isinstance(error, APITimeoutError | TimeoutError):
        return "no answer in time"
    if isinstance(error, APIConnectionError):
        return "no connection"
    if isinstance(error, APIStatusError):
        return f"HTTP {error.status_code}"
    return "no chat completion in the answer"
