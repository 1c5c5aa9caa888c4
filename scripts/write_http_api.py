"""Writes `docs/http-api.md` out of the description that the server gives of itself (OpenAPI).

    python scripts/write_http_api.py [--check]

With `--check` nothing is written: it exits with 1 when the page is stale. No model is loaded.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from generated_page import write_or_check
from starlette.testclient import TestClient

from isometry.report.markdown import prose, table, words
from isometry.serving.app import create_app
from isometry.serving.settings import Settings

PAGE = "docs/http-api.md"
COMMAND = "python scripts/write_http_api.py"

_HEAD = f"""# The HTTP API

Written by `{COMMAND}` out of the server's `/openapi.json`; do not edit it.
[Serving](serving.md) says how a server is started, [what errors mean](serving.md#errors) and
[what bounds a request](serving.md#limits). The body of every error is an
[ErrorBody](#errorbody)."""
# What Pydantic calls a value that may be anything.
_ANYTHING = "JsonValue"

Schema = dict[str, Any]


def render() -> str:
    """The page as Markdown."""
    about = describe()
    schemas: dict[str, Schema] = dict(about["components"]["schemas"])
    parts = [_HEAD, prose(about["info"]["description"])]
    tag = ""
    for path, operations in about["paths"].items():
        for method, operation in operations.items():
            if operation["tags"] != [tag]:
                (tag,) = operation["tags"]
                parts.append(f"## {tag.capitalize()}")
            parts += _operation(f"{method.upper()} {path}", operation)
    parts.append("## Bodies")
    for name in sorted(schemas):
        if name != _ANYTHING:
            parts += _body(name, schemas[name])
    return "\n\n".join(parts) + "\n"


def describe() -> dict[str, Any]:
    """The OpenAPI document, from a server that is not started."""
    client = TestClient(create_app([], Settings()), base_url="http://localhost")
    return client.get("/openapi.json").raise_for_status().json()


def _operation(title: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"### `{title}`"
    yield prose(operation["description"])
    if given := operation.get("parameters"):
        rows = [_row(each["name"], each["schema"], each["required"]) for each in given]
        yield table(["Parameter", "", ""], rows, align="left")
    lines = []
    if body := operation.get("requestBody"):
        lines.append(f"- Body: {_content(body)}.")
    for status in sorted(set(operation["responses"]) - {"4XX", "5XX"}):
        answer = operation["responses"][status]
        said = answer["description"].replace("Successful Response", "")
        lines.append(f"- {status}: {_content(answer)}. {prose(said)}".rstrip())
    yield "\n".join(lines)


def _content(part: dict[str, Any]) -> str:
    """The kinds of a body and what they hold."""
    return ", ".join(
        f"`{kind}`" + (f" of {_type(content['schema'])}" if "schema" in content else "")
        for kind, content in part["content"].items()
    )


def _body(name: str, schema: Schema) -> Iterator[str]:
    yield f"### {name}"
    yield prose(schema["description"])
    required = schema.get("required", [])
    rows = [_row(name, kind, name in required) for name, kind in schema["properties"].items()]
    yield table(["Field", "", ""], rows, align="left")
    for example in schema.get("examples", []):
        yield f"```json\n{json.dumps(example, indent=2, ensure_ascii=False)}\n```"


def _row(name: str, schema: Schema, required: bool) -> list[str]:
    """A parameter or a field: its name, what it may be, what it means."""
    kind = _type(schema) + _bounds(schema)
    if "default" in schema and "const" not in schema:
        kind += f", `{json.dumps(schema['default'])}` by default"
    elif not required and "const" not in schema:
        kind += ", optional"
    return [f"`{name}`", kind, words(schema.get("description", ""))]


def _bounds(schema: Schema) -> str:
    """How long, many or large a value may be."""
    said = [
        f", {words} {schema[bound]:,.0f}{unit}"
        for bound, words, unit in (
            ("minimum", "at least", ""),
            ("exclusiveMaximum", "below", ""),
            ("maxLength", "at most", " characters"),
            ("maxItems", "at most", ""),
        )
        if bound in schema
    ]
    return "".join(said)


def _type(schema: Schema) -> str:
    """What a value may be, in words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return "anything" if name == _ANYTHING else f"[{name}](#{name.lower()})"
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return " or ".join(dict.fromkeys(map(_type, schema[choice])))
    if values := schema.get("enum", [schema["const"]] if "const" in schema else []):
        return " or ".join(f"`{json.dumps(value)}`" for value in values)
    if schema.get("type") == "array":
        within = _type(schema["items"])
        return f"list of ({within})" if " or " in within else f"list of {within}"
    if isinstance(within := schema.get("additionalProperties"), dict):
        return f"object of {_type(within)}"
    return schema.get("type", "anything")


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, render, COMMAND))
