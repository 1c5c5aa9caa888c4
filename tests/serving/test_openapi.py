"""That `/openapi.json` tells the truth: whatever is asked, the answer is what it says.

`ISOMETRY_FUZZ` says how much is asked, as in `test_fuzz.py`.
"""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fuzzing import Answer, check
from hypothesis import given, settings
from running import answering
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance
from starlette.testclient import TestClient
from test_fuzz import MANY, Fuzzing

from isometry.serving import routes as all_routes

PLACES, ROUTES = all_routes.__path__, f"{all_routes.__name__}."
LINES = "application/x-ndjson"
# Of each route, in each way.
Some = settings(Fuzzing, max_examples=max(5, MANY // 40))
# What is there, so that not all is unknown.
KNOWN = {"name": "docs", "document": "heapq.heappush"}


@schemathesis.serializer(LINES)
def one_line(_: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


@pytest.fixture(scope="module")
def client(tiny_space: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    space = shutil.copytree(tiny_space, tmp_path_factory.mktemp("described") / "docs")
    with answering(f"docs={space}", writable=True) as (one, _):
        yield one


@pytest.fixture(scope="module")
def described(client: TestClient) -> dict[str, Any]:
    return client.get("/openapi.json").json()


def test_routes_are_called_in_the_loops_own_thread() -> None:
    # What is no coroutine is called in another one, which takes longer than what these do.
    modules = [importlib.import_module(each.name) for each in pkgutil.iter_modules(PLACES, ROUTES)]
    routers = [module.router for module in modules if hasattr(module, "router")]
    routes = [route for router in routers for route in router.routes]
    called = [route.endpoint for route in routes]
    called += [each.call for route in routes for each in route.dependant.dependencies]
    assert len(called) > 40
    assert [each.__qualname__ for each in called if not inspect.iscoroutinefunction(each)] == []


def test_every_part_that_is_named_is_there(described: dict[str, Any]) -> None:
    def named(part: Any) -> Iterator[str]:
        if isinstance(part, dict):
            yield from [part["$ref"]] if isinstance(part.get("$ref"), str) else []
            part = list(part.values())
        if isinstance(part, list):
            for each in part:
                yield from named(each)

    references = set(named(described))
    assert len(references) > 10
    for reference in references:
        place: Any = described
        for key in reference.removeprefix("#/").split("/"):
            place = place[key]


def test_answers_are_as_described(client: TestClient, described: dict[str, Any]) -> None:
    tried = 0
    for result in schemathesis.openapi.from_dict(described).get_all_operations():
        operation = result.ok()
        raw = described["paths"][operation.path][operation.method]
        parameters = raw.get("parameters", [])
        known = {each["name"]: KNOWN[each["name"]] for each in parameters if each["in"] == "path"}
        tried += asked(client, operation, GenerationMode.POSITIVE, known)
        # In a path any text is a name.
        if "requestBody" in raw or len(known) < len(parameters):
            tried += asked(client, operation, GenerationMode.NEGATIVE, known)
    assert tried > 100


def asked(
    client: TestClient, operation: APIOperation, mode: GenerationMode, known: dict[str, str]
) -> int:
    """Asks a route in all ways that the description allows, or does not; how often."""
    tried = 0
    # What can be asked of this Space only it knows: names, widths, lengths.
    excluded = [positive_data_acceptance]
    if operation.path == "/documents":
        # Bad lines are told so one by one.
        excluded.append(negative_data_rejection)

    @Some
    @given(
        operation.as_strategy(generation_mode=mode)
        | operation.as_strategy(generation_mode=mode, path_parameters=known)
    )
    def answered(case: Case) -> None:
        nonlocal tried
        tried += 1
        sent = case.as_transport_kwargs(base_url="http://localhost")
        assert not sent.pop("cookies")
        if "data" in sent:
            sent["content"] = sent.pop("data")
        answer = client.request(**sent)
        check(Answer(answer.status_code, answer.headers, answer.content))
        case.validate_response(answer, excluded_checks=excluded)

    answered()
    return tried
