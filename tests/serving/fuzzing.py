"""What clients of ill will may send, and what every answer to it must be like."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from hypothesis import strategies as st
from small_vocabulary import WORDS
from starlette.testclient import TestClient

# Nobody waits so long for an answer to so little: it is a hang, however slow the machine.
DEADLINE = 300
# What only the inside of a server knows: no client sends these here.
_INTERNAL = re.compile(
    rb"Traceback|File \"|site-packages|\.py\b|/tmp|/root|/home|/usr|/work|0x[0-9a-f]{6}|<class"
    rb"|object at 0|isometry\.|pydantic|starlette|fastapi|uvicorn|lance|arrow|numpy|torch|Error\b"
    rb"|Exception"
)
_TYPES = {
    401: {"authentication_error"},
    404: {"not_found_error"},
    429: {"rate_limit_error"},
}
_ALLOWED = frozenset({200, 201, 304, 400, 401, 403, 404, 405, 408, 413, 415, 429, 431})


class Literally(str):
    """A piece of JSON that is written as it is."""


class Pairs(list[tuple[str, Any]]):
    """An object whose keys may come twice."""


@dataclass(frozen=True)
class Answer:
    """What a server said.

    Attributes:
        status: The HTTP status.
        headers: By their names in lower case.
        body: All of it.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


def ask(
    client: TestClient,
    method: str,
    target: bytes,
    headers: Sequence[tuple[bytes, bytes]] = (),
    body: bytes = b"",
    noticed: Callable[[Any], None] = lambda _: None,
) -> Answer:
    """Hands a request to the application as uvicorn would, which no HTTP library tidies up before.

    Args:
        client: What the application runs in.
        method: Any token.
        target: Path and query, in ASCII.
        headers: Names and values.
        body: The body.
        noticed: Called with each message of the answer, in the event loop.
    """
    path, _, query = target.partition(b"?")
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path.decode("ascii")),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": [(b"host", b"localhost"), *headers],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }
    messages: list[Any] = []

    async def answered() -> None:
        arrived = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> Any:
            if (message := next(arrived, None)) is not None:
                return message
            return await asyncio.Event().wait()

        async def send(message: Any) -> None:
            messages.append(message)
            noticed(message)

        await client.app(scope, receive, send)

    assert client.portal is not None
    client.portal.start_task_soon(answered).result(DEADLINE)
    start, *parts = messages
    assert not parts[-1].get("more_body")
    named = {name.decode().lower(): value.decode() for name, value in start["headers"]}
    return Answer(start["status"], named, b"".join(part["body"] for part in parts))


def check(answer: Answer, folder: str = "") -> None:
    """Fails where an answer is no good.

    Args:
        answer: To anything.
        folder: A place on this machine that no answer may name.
    """
    assert answer.status in _ALLOWED, answer
    assert re.fullmatch(r"[\w.-]{1,64}", answer.headers["x-request-id"], re.ASCII)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert not folder or folder.encode() not in answer.body
    kind = answer.headers.get("content-type", "")
    if kind == "application/json":
        strict(answer.body)
    if answer.status >= 400:
        assert kind == "application/json"
        assert len(answer.body) < 2000, "it repeats what was sent"
        assert set(strict(answer.body)) == {"error"}
        check_error(strict(answer.body)["error"])
        expected = _TYPES.get(answer.status, {"invalid_request_error"})
        assert strict(answer.body)["error"]["type"] in expected
        if answer.status == 405:
            assert answer.headers["allow"]


def check_error(error: Any) -> None:
    """Fails where an error is not OpenAI's, or says what only the server knows."""
    assert set(error) == {"message", "type", "param", "code"}, error
    assert isinstance(error["message"], str)
    assert error["message"]
    assert isinstance(error["type"], str)
    assert all(error[name] is None or isinstance(error[name], str) for name in ("param", "code"))
    assert not _INTERNAL.search(json.dumps(error, ensure_ascii=False).encode()), error


def strict(text: bytes | str) -> Any:
    """The value of a JSON text that other parsers than Python's read too."""

    def refused(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refused)


def written(value: Any, *, ascii: bool) -> str:
    """JSON with everything that JSON forbids: NaN, keys that come twice, halves of pairs."""
    if isinstance(value, Literally):
        return value
    if isinstance(value, Pairs):
        parts = (f"{written(key, ascii=ascii)}:{written(one, ascii=ascii)}" for key, one in value)
        return "{" + ",".join(parts) + "}"
    if isinstance(value, Mapping):
        return written(Pairs(value.items()), ascii=ascii)
    if isinstance(value, list):
        return "[" + ",".join(written(one, ascii=ascii) for one in value) + "]"
    return json.dumps(value, ensure_ascii=ascii)


_STRANGE = [
    "", " ", "\0", "\n\r\t", "\u2028\u2029", "\ufeff", "\ufffe", "\u202egnp",
    "\U0001f9d1\u200d\U0001f680", "\U0010ffff", "\ud800", "x\udfff", "e\u0301" * 50, "\u0300" * 500,
    "\u0e01" * 400, "\u3042" * 300, "a" * 20_000, "word " * 2000, ". " * 3000, "\n" * 3000,
    "1 " * 500, "'; DROP TABLE chunks; --", '" OR 1=1', "\\", "*", "%", "%00", "_", "AND OR NOT",
    "+a -b", "a:b", "(", "[a TO b]", "~9", "^9", "../../../etc/passwd", "..\\..", "{{7*7}}", "${a}",
    "<script>alert(1)</script>", "a b", "None", "[CLS]", "[SEP] [PAD] [MASK]", "##a", "true",
    "null", "NaN", "-0", "1e999",
]  # fmt: skip
_NUMBERS = [
    0, -1, 1, 2, 3, 31, 32, 33, 63, 64, 65, 128, 1000, 1001, WORDS - 1, WORDS, 2**31 - 1, 2**31,
    2**32, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**30, -(10**30), 10**300, 0.0, -0.0,
    0.5, 1.0, 8.0, 1e16, 1e308, -1e308, 5e-324,
]  # fmt: skip
_FORBIDDEN = [
    Literally(text)
    for text in (
        "NaN", "-NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" + "0" * 4290, "9" * 4299,
        "9" * 6000, "-" + "9" * 6000, "0." + "1" * 5000, "1E400", "01", "+1", ".5", "1.", "0x1f",
        "1_000", "True", "undefined", "'a'", '"\\x41"', '"\\ud800"', '"\\udc00\\ud800"', '"\\u00"',
        '"\n"', '"\0"', '"a', "[1,]", "{,}", '{"a":1,}', "[" * 15 + "]" * 15, "[" * 17 + "]" * 17,
        "[" * 9000, "[" * 5000 + "]" * 5000, '{"a":' * 2000 + "1" + "}" * 2000, "/* */ 1", "", " ",
        "\ufeff1", "nul", "--1", "[1 2]",
    )
]  # fmt: skip

texts = st.sampled_from(_STRANGE) | st.text(max_size=30)
words = st.sampled_from(
    ["sort a list", "the day of the week", "push onto the heap", "a", "parse a date", "keys"]
)
numbers = st.sampled_from(_NUMBERS) | st.integers(-3, 70) | st.floats(width=32)
leaves = st.none() | st.booleans() | numbers | texts | st.sampled_from(_FORBIDDEN)
_keys = st.sampled_from(
    ["text", "id", "in", "not", "prefix", "gte", "lt", "kind", "order", "", "__proto__", "a.b",
    "$ref"]
) | st.text(max_size=9)  # fmt: skip
_small = st.none() | st.booleans() | numbers | st.sampled_from(["a", "", [], {}, [1], ["a"]])
# Many of a kind: what is bounded, and what is collected.
_many = st.tuples(
    _small | st.builds(lambda one: {"text": one}, _small), st.sampled_from([1001, 3000])
)
anything = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4) | st.lists(st.tuples(_keys, inner), max_size=4).map(Pairs)
    ),
    max_leaves=6,
) | _many.map(lambda both: Literally(f"[{','.join([written(both[0], ascii=True)] * both[1])}]"))

_names = st.sampled_from(["docs", None])
_ids = st.sampled_from(
    ["heapq.heappush", "heapq.merge", "new", "new/one", "neighbours", "\u202e#?"]
)
_booleans = st.booleans() | st.none()
_words = st.lists(words, min_size=1, max_size=3)
_tokens = st.lists(st.integers(0, 30_521), min_size=1, max_size=20)
_filters = st.dictionaries(
    st.sampled_from(["id", "title", "context", "group", "order", "kind", "source"]),
    st.sampled_from(["heapq", "prose", 3, ["heapq", ""], {"prefix": "h"}, {"not": ["a"]},
    {"gte": 1}, {}])
    | anything,
    max_size=2,
)  # fmt: skip
_metadata = st.fixed_dictionaries(
    {},
    optional={
        "context": words, "group": words | texts, "order": st.integers(0, 9), "source": texts,
        "kind": st.sampled_from(["prose", "code"]), "links": st.lists(texts, max_size=3),
    },
)  # fmt: skip
_DOCUMENT: dict[str, st.SearchStrategy[Any]] = {
    "text": words | texts, "title": words | texts, "metadata": _metadata, "truncate": st.booleans(),
}  # fmt: skip
_LINES = "application/x-ndjson"
# By address: what is asked with, field by field, as clients of good will do.
ROUTES: Mapping[tuple[str, str], Mapping[str, st.SearchStrategy[Any]]] = {
    ("POST", "/v1/embeddings"): {
        "input": words | _words | _tokens | st.lists(_tokens, min_size=1, max_size=3) | texts,
        "model": _names,
        "dimensions": st.sampled_from([None, 64, 32]),
        "encoding_format": st.sampled_from([None, "float", "base64"]),
        "input_type": st.sampled_from([None, "query", "document"]),
        "truncate": _booleans,
    },
    ("POST", "/v1/rerank"): {
        "query": words,
        "documents": _words | st.lists(st.fixed_dictionaries({"text": texts}), max_size=3),
        "model": _names,
        "top_n": st.sampled_from([None, 1, 2, 10**9]),
        "return_documents": _booleans,
        "truncate": st.just(True),
    },
    ("POST", "/rerank"): {
        "query": words,
        "texts": _words,
        "return_text": _booleans,
        "raw_scores": _booleans,
        "truncate": st.just(True),
    },
    ("POST", "/search"): {
        "query": words | texts,
        "space": _names,
        "mode": st.sampled_from(["hybrid", "dense", "lexical"]),
        "k": st.sampled_from([1, 3, 1000]),
        "dimensions": st.sampled_from([None, 64, 32]),
        "filter": st.none() | _filters,
    },
    ("PUT", "/documents/"): _DOCUMENT,
    ("POST", "/documents"): {"id": _ids | texts, **_DOCUMENT},
}
_FIELDS = sorted({name for fields in ROUTES.values() for name in fields})


@st.composite
def bodies(draw: st.DrawFn, fields: Mapping[str, st.SearchStrategy[Any]]) -> bytes:
    """A body that is right but for some of its fields, or for some of its bytes."""
    value: Any = Pairs()
    spoiled = draw(st.sets(st.sampled_from(sorted(fields)), max_size=2))
    for name, good in fields.items():
        fate = draw(st.sampled_from(["left", "spoiled", "good"])) if name in spoiled else "good"
        if fate != "left":
            value.append((name, draw(good if fate == "good" else anything)))
    if draw(st.integers(0, 3)) == 0:
        value += draw(
            st.lists(st.tuples(st.sampled_from(_FIELDS) | _keys, anything), min_size=1, max_size=2)
        )
    # One in so many is not even an object.
    if draw(st.integers(0, 19)) == 0:
        value = draw(anything)
    text = written(value, ascii=draw(st.booleans()))
    body = text.encode(
        draw(st.sampled_from(["utf-8"] * 30 + ["utf-16", "utf-32-be"])), "surrogatepass"
    )
    return draw(mutated(body)) if draw(st.integers(0, 3)) == 0 else body  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, body: bytes) -> bytes:
    """The same with some of its bytes lost, changed, repeated or added."""
    data = bytearray(body)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 40)))
        match draw(st.sampled_from(["cut", "drop", "flip", "insert", "repeat", "swap"])):
            case "cut":
                del data[start:]
            case "drop":
                del data[start:end]
            case "flip" if start < len(data):
                data[start] ^= 1 << draw(st.integers(0, 7))
            case "insert":
                data[start:start] = draw(st.binary(min_size=1, max_size=4))
            case "repeat":
                data[start:start] = data[start:end] * draw(st.sampled_from([1, 2, 100]))
            case "swap":
                data[start:end] = data[start:end][::-1]
            case _:
                pass
    return bytes(data)


@st.composite
def posted(draw: st.DrawFn) -> tuple[str, bytes, str, bytes]:
    """Method, target, content type and body of what a client wants to have answered."""
    method, path = draw(st.sampled_from(sorted(ROUTES)))
    fields, kind = ROUTES[method, path], "application/json"
    if path == "/documents/":
        path += quote(draw(_ids), safe="")
    if path == "/documents":
        kind = _LINES
        ends = draw(st.sampled_from([b"\n", b"\r\n", b"\n\n"]))
        body = ends.join(draw(st.lists(bodies(fields), min_size=1, max_size=4)))
    else:
        body = draw(bodies(fields))
    return method, path.encode(), kind, body


_METHODS = st.sampled_from(
    ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "CONNECT", "PROPFIND",
    "get", "!"]
)  # fmt: skip
_SEGMENTS = st.sampled_from(
    [
        "v1", "embeddings", "rerank", "search", "documents", "neighbours", "spaces", "proof",
        "report", "models", "docs", "nope", "healthz", "readyz", "metrics", "openapi.json",
        "page.css", "page.js", "heapq.heappush", "heapq.merge", "", ".", "..", "%2e%2e", "%2F",
        "%2f%2f", "%00", "%ff", "%ED%A0%80", "%", "%zz", "%F0%9F%A6%93", "a%20b", "a+b", "%23",
        "%3F", "%25", "%0d%0aX-A:%20b", "*", "~", ";a=b", "x" * 1001, "%C3%28",
        "documents%2Fheapq.merge", "neighbour%73", "%64ocuments",
    ]
)  # fmt: skip
_PATHS = st.sampled_from(
    [
        "/", "/documents/heapq.merge/neighbours", "/documents/heapq.merge", "/spaces/docs/proof",
        "/spaces/docs/report", "/v1/models/docs", "/documents", "/documents/", "//", "",
    ]
)  # fmt: skip
_VALUES = st.sampled_from(
    [
        "", "docs", "nope", "1", "0", "-1", "3", "1001", "1e3", "1.0", "%31", "NaN", "+1", "0x1",
        "1_0", "%D9%A3", "9" * 30, "9" * 4000, "9" * 5000, "-" + "9" * 5000, "%00", "%ff", "%",
        "&&", "a=b", "null", "docs%00", "[]", "{}", "true",
    ]
)  # fmt: skip
_QUERIES = st.lists(
    st.tuples(st.sampled_from(["k", "space", "K", "k[]", "%6b", "", "name", "document"]), _VALUES),
    max_size=3,
).map(lambda pairs: "&".join(f"{name}={value}" for name, value in pairs))
_HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                b"content-type", b"content-length", b"content-encoding", b"transfer-encoding",
                b"accept", b"accept-encoding", b"x-request-id", b"authorization", b"host",
                b"origin", b"cookie", b"range", b"if-none-match", b"if-modified-since", b"expect",
                b"upgrade", b"connection", b"x-forwarded-for", b"x-http-method-override",
                b"forwarded", b"",
            ]
        ),
        st.sampled_from(
            [
                b"", b" ", b"application/json", b"application/json; charset=utf-16",
                b"APPLICATION/JSON", b"application/x-ndjson", b"application/vnd.a+json",
                b"text/plain", b"multipart/form-data", b"/", b";", b"application/", b"identity",
                b"gzip", b"gzip, gzip", b"chunked", b"0", b"-1", b"1" * 30, b"9" * 5000, b"\xb2",
                b"\xff\xfe", b"Bearer \xff", b"Bearer", b"localhost", b"[::1]:80", b"[", b"]",
                b"localhost:x", b"127.0.0.1:99999", b"a.example", b"*", b'W/"a"', b'"' * 99,
                b"bytes=0-", b"a=b; c", b"x" * 8000, b"abc-1.2_3", b"\xd9\xa3",
            ]
        ),
    ),
    max_size=3,
)  # fmt: skip


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, bytes, list[tuple[bytes, bytes]], bytes]:
    """Method, target, headers and body of what nobody thought of."""
    path = draw(
        _PATHS | st.lists(_SEGMENTS, min_size=1, max_size=4).map(lambda s: "/" + "/".join(s))
    )
    query = draw(_QUERIES)
    target = f"{path}?{query}" if query or draw(st.booleans()) else path
    fields = ROUTES[draw(st.sampled_from(sorted(ROUTES)))]
    body = draw(st.just(b"") | st.binary(max_size=20) | bodies(fields))
    headers = draw(_HEADERS)
    if draw(st.booleans()):
        headers.append(
            (b"content-type", draw(st.sampled_from([b"application/json", b"application/x-ndjson"])))
        )
    return draw(_METHODS), target.encode(), headers, body
