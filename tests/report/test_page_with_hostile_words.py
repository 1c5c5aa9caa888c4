from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

from selectolax.lexbor import LexborHTMLParser

from isometry.report.page import render_report

HOSTILE = (
    "</bdi></title><script>alert('x')</script><img src=x onerror=alert(1)>\"'`&amp;{{ 7 * 7 }}"
    "\x00\x07\x1b[31m\x7f\x85\ud800\u202emirrored\u2066\u200f -->]]>"
)


def replace_strings(value: Any, make: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {key: replace_strings(child, make) for key, child in value.items()}
    if isinstance(value, list):
        return [replace_strings(child, make) for child in value]
    return make(value) if isinstance(value, str) else value


def test_no_text_becomes_markup(manifest: dict[str, Any]) -> None:
    for keyed in (
        manifest["figures"]["data"]["profile"]["kinds"],
        manifest["figures"]["data"]["pairs"]["by_task"],
        manifest["figures"]["seconds"],
        manifest["figures"]["retention"],
        manifest["versions"],
        manifest["settings"],
    ):
        keyed["KEY"] = keyed[next(iter(keyed))]
    calm = render_report(replace_strings(copy.deepcopy(manifest), lambda _: "calm"))
    wild = replace_strings(copy.deepcopy(manifest), lambda _: HOSTILE)
    for part in ("profile", "pairs"):
        below = wild["figures"]["data"][part]["kinds" if part == "profile" else "by_task"]
        below[HOSTILE] = below.pop("KEY")
    for below in (
        wild["figures"]["seconds"],
        wild["figures"]["retention"],
        wild["versions"],
        wild["settings"],
    ):
        below[HOSTILE] = below.pop("KEY")
    html = render_report(wild)
    html.encode()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", html)
    pages = [LexborHTMLParser(text) for text in (calm, html)]
    tags = [[node.tag for node in page.css("*") if node.tag != "span"] for page in pages]
    assert tags[0] == tags[1]
    assert not pages[1].css("script, img, [onerror]")
    title = pages[1].css("title")[0].text()
    assert "<script>" in title
    assert not re.search("[\u200f\u202e\u2066]", title)
    for node in pages[1].css("[aria-label]"):
        assert not re.search("[\u200f\u202e\u2066]", node.attributes["aria-label"] or "")
    outside = re.sub(r"<bdi>.*?</bdi>", "", html, flags=re.S)
    assert not re.search("[\u200f\u202e\u2066]", outside)
    assert "{{ 7 * 7 }}" in html


def test_nothing_is_loaded_and_nothing_runs(manifest: dict[str, Any]) -> None:
    html = render_report(manifest)
    page = LexborHTMLParser(html)
    policy = page.css("meta[http-equiv=Content-Security-Policy]")[0].attributes["content"] or ""
    for rule in ("default-src 'none'", "style-src 'unsafe-inline'", "img-src data:"):
        assert rule in policy.split("; ")
    assert not page.css("script, iframe, object, embed, form, base, img, link:not([rel=icon])")
    assert not re.search(r"https?://|url\(|@import|\bon\w+=", html)
