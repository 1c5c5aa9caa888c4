"""The report that `fit` itself wrote, in a real browser, beside the Space's manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def resolve(manifest: Any, path: str) -> Any:
    for part in path.split("."):
        manifest = manifest[int(part)] if isinstance(manifest, list) else manifest[part]
    return manifest


def test_the_page_shows_what_the_manifest_says(tiny_space: Path, browser: Browser) -> None:
    manifest = json.loads((tiny_space / "space.json").read_text(encoding="utf-8"))
    page = browser.new_page()
    requests: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: errors.append(message.text))
    page.goto((tiny_space / "report.html").as_uri())
    assert manifest["figures"]["verdict"]["headline"] in page.inner_text("h1")
    shown = page.eval_on_selector_all(
        "[data-figure]", "all => all.map(e => [e.dataset.figure, e.dataset.value])"
    )
    for path, value in shown:
        assert float(value) == float(resolve(manifest, path)), path
    places = {path for path, _ in shown}
    for row, system in enumerate(manifest["figures"]["test"]["rows"]):
        assert f"figures.test.rows.{row}.ndcg@10" in places, system
    assert errors == []
    assert requests == [(tiny_space / "report.html").as_uri()]
