from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx2
import numpy as np
import pytest
from contrasts import COLORS, contrast, luminance
from hostile_documents import HOSTILE
from playwright.sync_api import expect
from running import Running, running

from isometry import Space
from isometry.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Page, Route

TOKEN = "a-token-of-the-tests"
# Keys that follow each other faster than any machine is slow.
KEYS = """text => { const box = document.querySelector('#query'); for (const key of text) {
  box.value += key; box.dispatchEvent(new Event('input', {bubbles: true})); } }"""
FOUND = re.compile(r"^(\d+|No) documents? in ")
# What a person who does not see the page hears of each control.
NAMES = """() => [...document.querySelectorAll('a, button, input, select, [tabindex]')]
  .filter(one => one.checkVisibility())
  .map(one => [one.outerHTML.slice(0, 80), (one.ariaLabel ??
    document.getElementById(one.getAttribute('aria-labelledby'))?.textContent ??
    one.labels?.[0]?.textContent ?? one.textContent).trim()])"""


class Visit:
    """A page of a server in a browser, and all that the browser said and asked for."""

    def __init__(self, browser: Browser, address: str, path: str = "/", **options: Any) -> None:
        settings = {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"}
        self.address = address
        self.context = browser.new_context(**{**settings, **options})
        self.page: Page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.said.append("dialog"), dialog.dismiss()))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(address + path)
        expect(self.page.locator("#name")).not_to_have_text("Isometry")

    @property
    def titles(self) -> list[str]:
        return self.page.locator("#results h2").all_text_contents()

    @property
    def address_now(self) -> str:
        return self.page.url.removeprefix(self.address)

    def search(self, query: str) -> None:
        with self.page.expect_response("**/search"):
            self.page.fill("#query", query)
        self.settle()

    def settle(self) -> None:
        """Whatever the page does with an answer is done when another has come."""
        self.page.evaluate("fetch('/healthz').then(answer => answer.text())")
        expect(self.page.locator("#status")).to_have_text(FOUND)

    @property
    def focus(self) -> str:
        return self.page.evaluate("document.activeElement.id || document.activeElement.tagName")


@pytest.fixture
def visit(browser: Browser, hostile: Running) -> Iterator[Visit]:
    opened = Visit(browser, hostile.address)
    yield opened
    opened.context.close()
    # Nothing was blocked, nothing failed, and nobody else was asked for anything.
    assert opened.said == []
    assert opened.asked
    for url in opened.asked:
        assert url.startswith((f"{hostile.address}/", "data:image/svg+xml,"))


def test_files_say_what_may_run_and_are_asked_for_again(hostile: Running) -> None:
    for path, kind in (("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javasc")):
        answer = httpx2.get(hostile.address + path)
        assert answer.headers["content-type"].startswith(kind)
        said = answer.headers["content-security-policy"]
        policy = dict(part.partition(" ")[::2] for part in said.split("; "))
        assert policy == {
            "default-src": "'none'", "script-src": "'self'", "style-src": "'self'",
            "connect-src": "'self'", "img-src": "data:", "base-uri": "'none'",
            "form-action": "'none'", "frame-ancestors": "'none'",
        }  # fmt: skip
        assert answer.headers["cache-control"] == "no-cache"
        known = {"if-none-match": f'"other", W/{answer.headers["etag"]}'}
        again = httpx2.get(hostile.address + path, headers=known)
        assert (again.status_code, again.content) == (304, b"")
        assert httpx2.get(hostile.address + path, headers={"if-none-match": '"x"'}).content
    assert not re.search(r"<style|<script>|\son\w+=|\sstyle=", httpx2.get(hostile.address).text)


def test_it_searches_as_you_type(visit: Visit) -> None:
    page = visit.page
    page.evaluate(KEYS, "the day of the week")
    page.wait_for_selector("#results li")
    expect(page.locator("#results li")).to_have_count(10)
    assert page.locator("#status").inner_text().startswith("10 documents")
    # Keys that follow each other fast are one search.
    assert len([url for url in visit.asked if url.endswith("/search")]) == 1
    page.get_by_role("radio", name="Words").check(force=True)
    expect(page.locator("#results")).not_to_contain_text("by meaning")
    marks = page.locator("#results mark").all_text_contents()
    assert {"day", "week"} <= {mark.lower() for mark in marks}
    assert all(re.match("(?i)(day|week)", mark) for mark in marks)
    assert "1st by words" in page.locator("#results li").first.inner_text()
    page.fill("#query", "")
    page.wait_for_selector("#results", state="hidden")
    assert visit.titles == []


@pytest.mark.parametrize("document", HOSTILE)
def test_hostile_documents_are_text(visit: Visit, document: str) -> None:
    title, text = HOSTILE[document]
    page = visit.page
    page.get_by_label("How many documents").select_option("50")
    visit.search(f"zebra {title[:60]}")
    assert title in visit.titles
    page.get_by_role("link", name=title, exact=True).click()
    page.wait_for_selector("#near li")
    assert page.locator("#document-title").text_content() == title
    assert page.locator("#text").text_content() == text
    assert document in (page.locator("#document").text_content() or "")
    inside = "#columns :is(script, img, svg, iframe, style, textarea, [onerror], [onload])"
    assert page.locator(inside).count() == 0
    links = page.eval_on_selector_all("a", "all => all.map(one => one.href)")
    assert all(link.startswith(f"{visit.address}/") for link in links)
    assert page.evaluate("window.taken") is None
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


def test_a_passage_is_shown_where_it_stands(visit: Visit) -> None:
    page = visit.page
    page.get_by_role("radio", name="Words").check(force=True)
    visit.search("quagga")
    page.locator("a[data-document='long#lines']").first.click()
    page.wait_for_selector("#near li")
    passage = page.locator("#text .here")
    assert "One 🦓 or quagga." in (passage.text_content() or "")
    assert passage.locator("mark").all_text_contents() == ["quagga"]
    assert len(passage.text_content() or "") < 2000
    seen = passage.evaluate("one => one.getBoundingClientRect().top")
    assert 0 < seen < 900


def test_what_is_near_to_another_document_does_not_move_what_was_found(visit: Visit) -> None:
    """Results are each other's neighbours, and near by other passages than what was asked for."""
    page = visit.page
    with page.expect_response("**/search") as answer:
        visit.search("return the number of items")
    found = answer.value.json()["results"]
    for place, result in [*enumerate(found), *enumerate(found)]:
        page.locator("#results a").nth(place).click()
        expect(page.locator("#document-title")).to_have_text(result["title"].split(" > ")[-1])
        expect(page.locator("#near li").first).to_be_visible()
        shown = page.locator("#text .here").text_content()
        # What was found stands behind its heading.
        assert shown and result["text"].endswith(shown)


def test_an_older_answer_never_takes_the_place_of_a_newer(visit: Visit) -> None:
    page, held = visit.page, list[Any]()

    def hold(route: Route) -> None:
        if "older" in (route.request.post_data or ""):
            held.append(route)
        else:
            route.continue_()

    page.route("**/search", hold)
    # An answer that comes although nobody waits for it any more.
    page.evaluate("AbortController.prototype.abort = () => {}")
    page.fill("#query", "older zebra")
    with page.expect_request("**/search"):
        page.keyboard.press("Enter")
    visit.search("calendar of a month")
    newer = visit.titles
    with page.expect_response("**/search"):
        held[-1].fulfill(json={"results": []})
    # Whatever the answer does is done when another has come and gone.
    page.evaluate("fetch('/healthz').then(answer => answer.text())")
    assert newer
    assert visit.titles == newer
    assert page.locator("#query").input_value() == "calendar of a month"


def test_from_the_keyboard_alone(visit: Visit) -> None:
    page = visit.page
    page.locator("body").click(position={"x": 5, "y": 5})
    assert visit.focus == "BODY"
    page.keyboard.press("/")
    assert (visit.focus, page.locator("#query").input_value()) == ("query", "")
    page.keyboard.type("a/b zebra")
    assert page.locator("#query").input_value() == "a/b zebra"
    # Where keys are slow, a part of it is searched for too.
    with page.expect_response(lambda answer: "a/b zebra" in (answer.request.post_data or "")):
        page.keyboard.press("Enter")
    visit.settle()
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "ArrowUp"):
        page.keyboard.press(key)
    second = page.locator("#results a").nth(1)
    assert second.evaluate("one => one === document.activeElement")
    outline = "getComputedStyle(document.activeElement, '::after').outlineStyle"
    assert page.evaluate(outline) == "solid"
    page.keyboard.press("Enter")
    page.wait_for_selector("#near li")
    assert visit.focus == "document"
    assert page.locator("#document-title").text_content() == second.text_content()
    page.keyboard.press("Escape")
    assert page.locator("#document").is_hidden()
    assert second.evaluate("one => one === document.activeElement")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    assert visit.focus == "query"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Escape")
    assert (visit.focus, page.locator("#query").input_value()) == ("query", "a/b zebra")


def test_the_address_is_the_search(visit: Visit, browser: Browser) -> None:
    page = visit.page
    visit.search("sort a list")
    page.get_by_label("Space", exact=True).select_option("docs")
    expect(page.locator("#name")).to_have_text("docs")
    visit.search("zebra & 100% #q=x")
    page.keyboard.press("Enter")
    page.wait_for_selector("#results li")
    page.locator("#results a").first.click()
    page.wait_for_selector("#near li")
    shared, title = visit.address_now, page.locator("#document-title").text_content()
    other = Visit(browser, visit.address, shared)
    other.page.wait_for_selector("#near li")
    assert other.page.locator("#query").input_value() == "zebra & 100% #q=x"
    assert other.page.locator("#document-title").text_content() == title
    assert (other.page.locator("#name").inner_text(), other.titles) == ("docs", visit.titles)
    other.context.close()
    page.go_back()
    page.wait_for_selector("#document", state="hidden")
    assert "open=" not in page.url
    page.go_back()
    expect(page.locator("#query")).to_have_value("sort a list")
    page.wait_for_selector("#results li")
    page.go_forward()
    page.go_forward()
    page.wait_for_selector("#near li")
    assert (visit.address_now, page.locator("#document-title").text_content()) == (shared, title)


@pytest.mark.parametrize("opened", [False, True])
def test_a_narrow_screen_does_not_scroll_sideways(visit: Visit, opened: bool) -> None:
    page = visit.page
    page.set_viewport_size({"width": 360, "height": 740})
    for query in ("", "zebra without spaces", "zebra </script>"):
        if query:
            visit.search(query)
        if query and opened:
            page.locator("#results a").first.click()
            page.wait_for_selector("#near li")
            assert page.locator("#results").is_hidden()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.keyboard.press("Escape")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_and_heard(visit: Visit, scheme: Any) -> None:
    page = visit.page
    page.emulate_media(color_scheme=scheme)
    ground = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (luminance(ground) > 0.5) == (scheme == "light")
    page.wait_for_selector("#proof")
    visit.search("zebra crossing")
    seen = page.evaluate(COLORS)
    page.get_by_role("link", name="zebra crossing", exact=True).click()
    page.wait_for_selector("#near li")
    seen += page.evaluate(COLORS)
    assert len(seen) > 80
    assert {"MARK", "TD", "CAPTION", "STRONG"} & {what.split()[0] for what, _, _ in seen}
    for what, front, behind in seen:
        assert contrast(front, behind) >= 4.5, (what, front, behind)
    names = page.evaluate(NAMES)
    assert len(names) > 15
    assert all(name for _, name in names), names
    assert page.get_by_role("search").get_attribute("aria-label") == "Documents"
    assert page.get_by_role("main").count() == page.get_by_role("heading", level=1).count() == 1
    assert page.get_by_role("list", name="Documents, best first").get_by_role("listitem").count()
    assert page.locator("[role=status][aria-live=polite]").inner_text().startswith("10 documents")
    assert page.get_by_role("region", name="zebra crossing").count() == 1
    for part in ("#results h2", "#results .passage", "#text", "#document-title"):
        assert page.locator(part).first.get_attribute("dir") == "auto"
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"


def test_text_from_right_to_left_begins_at_the_right(visit: Visit) -> None:
    visit.search("حمار وحشي zebra")
    link = visit.page.locator("#results h2", has_text="حمار")
    assert link.evaluate("one => getComputedStyle(one).direction") == "rtl"


def test_beside_it_stands_what_the_base_finds(browser: Browser, tiny_space: Path) -> None:
    query = "push an item onto the heap"
    with running(f"docs={tiny_space}", beside_base=True) as server:
        answers = [
            httpx2.post(f"{server.address}/search", json={"query": query, "space": name, "k": 10})
            for name in ("docs", "docs.base")
        ]
        here, there = ([row["document"] for row in each.json()["results"]] for each in answers)
        # Tuning changed something, and not everything.
        assert here != there
        assert set(here) & set(there)
        visit = Visit(browser, server.address)
        page = visit.page
        others = page.locator("#others li")
        expect(page.locator("#beside")).to_be_hidden()
        visit.search(query)
        expect(others).to_have_count(10)
        said = others.locator("p:last-child").all_text_contents()
        shown = [each.get_attribute("data-document") for each in others.locator("a").all()]
        assert shown == there
        for document, place in zip(there, said, strict=True):
            known = document in here
            assert place.startswith(str(here.index(document) + 1) if known else "not among")
        chips = page.locator("#results .base").all_text_contents()
        for document, chip in zip(here, chips, strict=True):
            known = document in there
            assert chip.startswith(str(there.index(document) + 1) if known else "not found")
        # Where the base does not answer, nothing of another question stays.
        page.route("**/search", lambda route: refuse_base(route))
        page.fill("#query", "the day of the week")
        expect(page.locator("#results h2").first).not_to_have_text(visit.titles[0])
        expect(page.locator("#beside")).to_be_hidden()
        expect(page.locator("#status")).to_be_empty()
        expect(page.locator("#beside")).to_be_hidden()
        page.unroute("**/search")
        visit.said.clear()
        visit.search(query)
        expect(others).to_have_count(10)
        expect(page.locator("#beside")).to_be_visible()
        # It opens as any other, and steps back.
        others.locator("a").last.click()
        expect(page.locator("#document-title")).to_be_visible()
        expect(page.locator("#beside")).to_be_hidden()
        page.keyboard.press("Escape")
        expect(page.locator("#beside")).to_be_visible()
        page.get_by_role("checkbox", name="beside what its base finds").uncheck()
        expect(page.locator("#beside")).to_be_hidden()
        expect(page.locator("#results .base")).to_have_count(0)
        assert "base=no" in visit.address_now
        page.set_viewport_size({"width": 360, "height": 740})
        page.get_by_role("checkbox").check()
        expect(others).to_have_count(10)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert all(name for _, name in page.evaluate(NAMES))
        # Only the Space itself is offered.
        expect(page.locator("#spaces")).to_be_hidden()
        assert visit.said == []
        visit.context.close()


def refuse_base(route: Route) -> None:
    """Answers for the Space itself alone."""
    if (route.request.post_data_json or {}).get("space") == "docs.base":
        error = {"error": {"message": "Too busy."}}
        route.fulfill(status=429, json=error, headers={"retry-after": "600"})
    else:
        route.continue_()


@pytest.fixture(scope="module")
def file(hostile_space: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of one file, with hostile documents in it."""
    out = tmp_path_factory.mktemp("page") / "page.html"
    assert main(["page", str(hostile_space), "--out", str(out), "-q"]) == 0
    return out


def test_one_file_searches_by_words_without_a_server(
    browser: Browser, file: Path, hostile_space: Path
) -> None:
    space = Space.open(hostile_space)
    visit = Visit(browser, file.as_uri(), "")
    page = visit.page
    page.context.set_offline(True)
    expect(page.locator("#modes")).to_be_hidden()
    # One after the other finds something else, so that none is taken for the one before it.
    apart, together = "qua\u0301gga", "qu\u00e1gga"
    heap = "push an item onto the heap"
    for query in ("quagga", heap, together, "the day of the week", apart, heap):
        page.fill("#query", query)
        expect(page.locator("#status")).to_have_text(FOUND)
        expected = [hit.document for hit in space.search(query, 10, "lexical")]
        expect(page.locator("#results a").first).to_have_attribute("data-document", expected[0])
        shown = [each.get_attribute("data-document") for each in page.locator("#results a").all()]
        # Other stems than Lance's: most of it is the same.
        assert len(set(shown) & set(expected)) >= 0.6 * len(expected)
    page.locator("#results a").first.click()
    page.wait_for_selector("#near li")
    name = page.locator("#results a").first.get_attribute("data-document")
    index = space.index
    mean = index.vectors(index.of_document(name or "")).mean(axis=0)
    near = [hit.document for hit in index.dense(mean / np.linalg.norm(mean), 9)]
    shown = [each.get_attribute("data-document") for each in page.locator("#near a").all()]
    assert shown == [document for document in near if document != name][:8]
    expect(page.locator("#verdict")).to_have_text(space.manifest["figures"]["verdict"]["headline"])
    # A link to what was found opens it in another window too.
    other = Visit(browser, page.url, "")
    expect(other.page.locator("#document-title")).to_be_visible()
    for each in (visit, other):
        assert each.said == []
        # Nobody is asked for anything but the file.
        assert all(url.startswith(("file:", "data:image/svg+xml,")) for url in each.asked)
        each.context.close()


@pytest.mark.parametrize("document", list(HOSTILE))
def test_hostile_documents_are_text_in_one_file_too(
    browser: Browser, file: Path, document: str
) -> None:
    visit = Visit(browser, f"{file.as_uri()}#open={quote(document, safe='')}", "")
    title, text = HOSTILE[document]
    expect(visit.page.locator("#text")).to_have_text(text, use_inner_text=False)
    assert visit.page.locator("#document-title").text_content() == title.split(" > ")[-1]
    assert visit.said == []
    visit.context.close()


def test_one_file_is_not_overwritten(
    file: Path, hostile_space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["page", str(hostile_space), "--out", str(file)]) == 2
    assert "--force" in capsys.readouterr().err
    before = file.read_bytes()
    assert main(["page", str(hostile_space), "--out", str(file), "--force", "-q"]) == 0
    assert file.read_bytes() == before


def test_the_proof_and_the_report(visit: Visit) -> None:
    page = visit.page
    page.wait_for_selector("#proof")
    proof = httpx2.get(f"{visit.address}/spaces/hostile/proof").json()
    assert page.locator("#verdict").inner_text() == proof["headline"]
    row = page.get_by_role("row", name=re.compile("^Both")).inner_text()
    for system in ("base fused", "tuned fused"):
        metrics = next(each["metrics"] for each in proof["rows"] if each["system"] == system)
        assert f"{100 * metrics['ndcg@10']:.1f}" in row
    page.get_by_role("link", name="The whole report").click()
    page.wait_for_selector("h1")
    assert page.url == f"{visit.address}/spaces/hostile/report"
    assert page.evaluate("getComputedStyle(document.body).maxWidth") != "none"


def test_what_goes_wrong_is_said_in_words(browser: Browser, hostile: Running) -> None:
    visit = Visit(browser, hostile.address)
    page, answers = visit.page, [429, 503]

    def busy(route: Route) -> None:
        if not answers:
            route.continue_()
            return
        body = {"error": {"message": "Too many requests are under way."}}
        route.fulfill(status=answers.pop(0), json=body, headers={"retry-after": "1"})

    page.route("**/search", busy)
    page.fill("#query", "zebra")
    page.get_by_text("Too many requests are under way. Asking again in 1 s.").wait_for()
    page.wait_for_selector("#results li")
    assert page.locator("#error").inner_text() == ""
    page.unroute("**/search")
    page.route("**/search", lambda route: route.abort())
    page.fill("#query", "zebras")
    page.get_by_text("The server cannot be reached.").wait_for()
    page.unroute("**/search")
    page.fill("#query", "zebra again")
    expect(page.locator("#error")).to_have_text("")
    visit.context.close()


def test_a_token_is_asked_for_and_forgotten(browser: Browser, tiny_space: Path) -> None:
    with running(f"docs={tiny_space}", token=TOKEN) as server:
        for path in ("/", "/page.css", "/page.js"):
            assert httpx2.get(server.address + path).status_code == 200
        for path in ("/spaces/docs/proof", "/spaces/docs/report", "/documents/a", "/models"):
            assert httpx2.get(server.address + path).status_code == 401
        context = browser.new_context()
        page = context.new_page()
        page.goto(server.address)
        page.get_by_label("Token").fill("a-token-of-somebody")
        page.keyboard.press("Enter")
        page.get_by_text("This is not the server's token.").wait_for()
        assert page.locator("#search").is_hidden()
        page.get_by_label("Token").fill(TOKEN)
        page.keyboard.press("Enter")
        page.get_by_label("Search the documents").fill("calendar")
        page.wait_for_selector("#results li")
        assert page.locator("#token").is_hidden()
        with page.expect_download() as saved:
            page.get_by_role("button", name="Save the whole report").click()
        assert saved.value.path().read_bytes() == (tiny_space / "report.html").read_bytes()
        kept = page.evaluate("[document.cookie, {...localStorage}, {...sessionStorage}]")
        assert kept == ["", {}, {}]
        assert TOKEN not in page.url + page.content()
        page.reload()
        page.get_by_label("Token").wait_for()
        context.close()


def test_without_a_space_it_says_how_to_call(browser: Browser, prompted_folder: Path) -> None:
    with running(f"small={prompted_folder}") as server:
        context = browser.new_context()
        page = context.new_page()
        page.goto(server.address)
        page.wait_for_selector("#models li")
        assert page.locator("#search").is_hidden()
        text = page.locator("#models").inner_text()
        assert f"curl {server.address}/v1/embeddings" in text
        assert "64 dimensions, texts up to 128 tokens" in text
        context.close()
