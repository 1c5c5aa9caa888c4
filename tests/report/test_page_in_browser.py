from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from contrasts import COLORS, contrast, luminance

from isometry.report.page import render_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TEXT_BOXES = """() => [...document.querySelectorAll('svg.plot')].map(svg => {
    const frame = svg.getBoundingClientRect();
    return {name: svg.ariaLabel, frame: [frame.left, frame.top, frame.right, frame.bottom],
      texts: [...svg.querySelectorAll('text')].map(text => {
        const box = text.getBoundingClientRect();
        return [text.textContent, box.left, box.top, box.right, box.bottom];
      })};
  })"""


class Opened:
    """A report in a browser, and what the browser had to say about it."""

    def __init__(self, page: Page, file: Path) -> None:
        self.page = page
        self.messages: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.messages.append(message.text))
        page.on("pageerror", lambda error: self.messages.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(file.as_uri())


@pytest.fixture
def file(tmp_path: Path, manifest: dict[str, Any]) -> Path:
    file = tmp_path / "report.html"
    file.write_text(render_report(manifest), encoding="utf-8")
    return file


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    yield context.new_page()
    context.close()


def resolve(manifest: Any, path: str) -> Any:
    for part in path.split("."):
        manifest = manifest[int(part)] if isinstance(manifest, list) else manifest[part]
    return manifest


def test_it_opens_without_complaint_and_asks_for_nothing(page: Page, file: Path) -> None:
    opened = Opened(page, file)
    page.mouse.wheel(0, 5000)
    assert opened.messages == []
    assert opened.requests == [file.as_uri()]


def test_hostile_documents_do_nothing(page: Page, file: Path, manifest: dict[str, Any]) -> None:
    attack = "</bdi></pre></title></style><script>document.title='taken'</script><img src=x>"
    row = manifest["figures"]["examples"]["improved"][0]
    row |= {"query": attack, "title": attack, "text": attack + "\u202e" + attack}
    manifest["source"]["name"] = attack
    file.write_text(render_report(manifest), encoding="utf-8")
    opened = Opened(page, file)
    assert opened.messages == []
    assert opened.requests == [file.as_uri()]
    assert page.title() == f"{attack}: report of isometry fit"
    assert page.locator("script, img").count() == 0
    assert page.locator("#examples h4").first.text_content() == attack


def test_the_figures_that_people_see_are_the_manifests(
    page: Page, file: Path, manifest: dict[str, Any]
) -> None:
    Opened(page, file)
    found = page.eval_on_selector_all(
        "[data-figure]", "all => all.map(one => [one.dataset.figure, one.dataset.value])"
    )
    assert len(found) > 150
    for path, value in found:
        assert float(value) == resolve(manifest, path), path
    headline = page.locator('.result [data-figure="figures.test.differences.0.difference"]')
    assert headline.inner_text() == "+12.6"


@pytest.mark.parametrize("opened", [False, True])
def test_a_narrow_screen_scrolls_tables_but_not_the_page(
    page: Page, file: Path, manifest: dict[str, Any], opened: bool
) -> None:
    long = "x" * 300
    manifest["figures"]["examples"]["improved"][0] |= {"query": long, "title": long, "text": long}
    manifest["figures"]["data"]["skipped"][0] = {"path": long, "reason": long}
    manifest["figures"]["verdict"] |= {"headline": f"Better: {long}", "reasons": [long]}
    manifest["source"]["name"] = manifest["versions"]["torch"] = long
    file.write_text(render_report(manifest), encoding="utf-8")
    page.set_viewport_size({"width": 360, "height": 740})
    Opened(page, file)
    if opened:
        page.eval_on_selector_all("details", "all => all.forEach(one => { one.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    wide = page.locator("#test .scroll").first
    assert wide.evaluate("box => box.scrollWidth > box.clientWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(page: Page, file: Path, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    Opened(page, file)
    page.eval_on_selector_all("details", "all => all.forEach(one => { one.open = true })")
    ground = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (luminance(ground) > 0.5) == (scheme == "light")
    colors = page.evaluate(COLORS)
    assert len(colors) > 300
    for what, front, behind in colors:
        assert contrast(front, behind) >= 4.5, (what, front, behind)


def test_paper_is_white_and_shows_what_is_folded_away(page: Page, file: Path) -> None:
    page.emulate_media(media="print", color_scheme="dark")
    Opened(page, file)
    ground = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert ground == "rgb(255, 255, 255)"
    assert page.locator("details[open]").count() == 0
    assert page.locator("pre.excerpt").first.evaluate("one => one.getBoundingClientRect().height")
    assert not page.locator("nav").is_visible()


@pytest.mark.parametrize("width", [1280, 360])
def test_texts_of_a_plot_stay_inside_and_apart(page: Page, file: Path, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    Opened(page, file)
    plots = page.evaluate(TEXT_BOXES)
    assert len(plots) == 6
    for plot in plots:
        left, top, right, bottom = plot["frame"]
        for place, (text, x1, y1, x2, y2) in enumerate(plot["texts"]):
            where = (plot["name"], text)
            assert left - 1 <= x1 and x2 <= right + 1 and top - 1 <= y1 and y2 <= bottom + 1, where
            for other, a1, b1, a2, b2 in plot["texts"][:place]:
                across = min(x2, a2) - max(x1, a1)
                down = min(y2, b2) - max(y1, b1)
                assert across <= 0 or down <= 4, (*where, other)  # boxes hold more than ink
