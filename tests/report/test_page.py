from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from isometry.report.model_card import render_model_card
from isometry.report.page import render_report


def resolve(manifest: Any, path: str) -> Any:
    for part in path.split("."):
        manifest = manifest[int(part)] if isinstance(manifest, list) else manifest[part]
    return manifest


def shown(text: str) -> tuple[float, int]:
    """The number that a person reads, and its decimals."""
    plain = text.strip().replace("\u2212", "-").replace(",", "")
    digits = re.fullmatch(r"[+-]?\d+(?:\.(\d+))?(?:e-\d+)?", plain)
    assert digits, text
    return float(plain), len(digits[1] or "")


def figures_of(html: str) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for node in LexborHTMLParser(html).css("[data-figure]"):
        path, value = node.attributes["data-figure"], node.attributes["data-value"]
        found.setdefault(path or "", []).append((value or "", node.text()))
    return found


def check_figures(html: str, manifest: dict[str, Any]) -> None:
    for path, places in figures_of(html).items():
        value = resolve(manifest, path)
        for raw, text in places:
            assert float(raw) == value, path
            read, decimals = shown(text)
            unit = 10.0**-decimals / 2 + 1e-9
            assert min(abs(read - value), abs(read - 100 * value)) <= unit, (path, text)
            if text.startswith("+") or "\u2212" in text.split("e")[0]:
                assert (value > 0) == text.startswith("+"), (path, text)


def numbers_below(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, child in items:
            yield from numbers_below(child, f"{path}.{key}")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path


def test_pages_are_counted_where_the_interval_counts_them(manifest: dict[str, Any]) -> None:
    # Spaces of earlier versions drew queries alone.
    assert "paired bootstrap over queries." in render_report(manifest)
    manifest = copy.deepcopy(manifest)
    manifest["figures"]["test"]["groups"] = 41
    html = render_report(manifest)
    assert [text for _, text in figures_of(html)["figures.test.groups"]] == ["41"]
    assert "over queries and over the" in html
    check_figures(html, manifest)


def test_of_one_page_there_is_no_interval(manifest: dict[str, Any]) -> None:
    assert all(part in render_report(manifest) for part in ("<p>95 % interval", "result gain"))
    manifest = copy.deepcopy(manifest)
    manifest["figures"]["test"]["groups"] = 1
    for row in [*manifest["figures"]["test"]["differences"], *manifest["figures"]["sizes"]]:
        row["low"] = row["high"] = None
    html = render_report(manifest)
    assert "<p>95 % interval" not in html and "result gain" not in html
    assert "of others nothing can be said" in html and "bootstrap" not in html
    assert "intervals" not in html and "intervals" not in render_model_card(manifest)
    assert render_model_card(manifest).count("| –") >= 2
    check_figures(html, manifest)


def test_every_figure_is_the_manifests(manifest: dict[str, Any]) -> None:
    check_figures(render_report(manifest), manifest)


def test_every_figure_that_may_be_quoted_is_there(manifest: dict[str, Any]) -> None:
    wanted = {
        path
        for part in (
            "test",
            "curve",
            "precision",
            "sizes",
            "retention",
            "examples",
            "data",
            "batches",
        )
        for path in numbers_below(manifest["figures"][part], f"figures.{part}")
    }
    wanted |= set(numbers_below(manifest["figures"]["validation"], "figures.validation"))
    wanted |= set(numbers_below(manifest["figures"]["seconds"], "figures.seconds"))
    wanted |= set(numbers_below(manifest["plan"], "plan"))
    repeated = {path for path in wanted if re.search(r"tuned_fusion\.\d+\.dense_weight", path)}
    repeated |= {path for path in wanted if path.endswith(".gain")}  # the ranks say it
    assert wanted - repeated <= set(figures_of(render_report(manifest)))


def test_the_headline_shows_dense_and_fused_with_their_intervals(manifest: dict[str, Any]) -> None:
    page = LexborHTMLParser(render_report(manifest))
    results = [node.text() for node in page.css(".result")]
    assert "+12.6" in results[0]
    assert "+9.5 to +15.5" in results[0]
    assert "+8.1" in results[1]
    assert "+5.7 to +10.6" in results[1]
    assert "tuned" in results[2]
    assert "0.75" in results[2]


def test_the_best_of_each_column_is_marked_also_without_colour(manifest: dict[str, Any]) -> None:
    rows = manifest["figures"]["test"]["rows"]
    rows[0]["recall@100"] = rows[2]["recall@100"]  # a tie
    cells = LexborHTMLParser(render_report(manifest)).css("#test td.best")
    marked = {node.css("[data-figure]")[0].attributes["data-figure"] for node in cells}
    expected = {
        f"figures.test.rows.{place}.{metric}"
        for metric in ("ndcg@10", "recall@1", "recall@10", "recall@100", "mrr@10")
        for place, row in enumerate(rows)
        if row[metric] == max(other[metric] for other in rows)
    }
    assert marked == expected
    assert len(marked) == 6
    assert all("(best)" in node.text() for node in cells)


def test_headings_captions_and_pictures_say_what_they_are(manifest: dict[str, Any]) -> None:
    page = LexborHTMLParser(render_report(manifest))
    assert len(page.css("h1")) == 1
    levels = [int((node.tag or "h0")[1]) for node in page.css("h1, h2, h3, h4")]
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert all(table.css_first("caption") for table in page.css("table"))
    plots = page.css("svg")
    assert len(plots) == 6
    assert all(plot.attributes["role"] == "img" and plot.attributes["aria-label"] for plot in plots)
    ids = {node.attributes["id"] for node in page.css("[id]")}
    assert {f"#{name}" for name in ids} == {a.attributes["href"] for a in page.css("nav a")}


def test_a_kept_base_says_why_and_what_to_do(manifest: dict[str, Any]) -> None:
    found = manifest["figures"]
    found["verdict"] = {
        "kept": "base",
        "alpha": 0.0,
        "headline": "The base model was kept.",
        "reasons": ["No candidate was better by 0.5 points."],
    }
    found["test"]["rows"] = [row for row in found["test"]["rows"] if "tuned" not in row["system"]]
    found["test"]["differences"] = []
    found["data"]["pairs"]["train"] = 120
    for part in ("training", "batches", "curve", "examples"):
        found[part] = None
    found["validation"]["fusion"] = found["validation"]["tuned_fusion"] = None
    html = render_report(manifest)
    check_figures(html, manifest)
    text = LexborHTMLParser(html).css("body > header")[0].text()
    assert "No candidate was better by 0.5 points." in text
    assert "What you can do" in text
    assert "120 training pairs are few" in text
    assert "61.7" in text
    assert "gain" not in (LexborHTMLParser(html).css(".result")[0].attributes["class"] or "")


def test_sizes_are_explained_where_there_are_some(manifest: dict[str, Any]) -> None:
    page = LexborHTMLParser(render_report(manifest))
    text = page.css("#sizes")[0].text()
    assert "Smaller models" in text and "2x96, 4x192" in text
    assert "it did nothing for the first dimensions of the last layer alone" in text
    rows = [
        [cell.text() for cell in row.css("th, td")]
        for row in page.css("#sizes tr")
        if row.css("td")
    ]
    assert [
        *("2", "96", "15,652,224", "384", "2.7", "20.2", "65.2", "+45.0", "+41.0 to +48.9"),
    ] in rows
    choice = page.css("#choice")[0].text()
    assert "All sizes" in choice and "all of the way" in choice and "Half of the way" not in choice

    manifest["plan"]["nested"], manifest["figures"]["sizes"] = [], []
    for row in manifest["figures"]["validation"]["candidates"]:
        del row["all_sizes"]
    html = render_report(manifest)
    check_figures(html, manifest)
    page = LexborHTMLParser(html)
    assert "Smaller models" not in page.css("#sizes")[0].text()
    assert "Training nests the dimensions" in page.css("#sizes")[0].text()
    choice = page.css("#choice")[0].text()
    assert "All sizes" not in choice and "Points on the way" in choice
    del manifest["figures"]["validation"]["candidates"][2:]
    choice = LexborHTMLParser(render_report(manifest)).css("#choice")[0].text()
    assert "Half of the way" in choice and "Points on the way" not in choice


def test_sizes_of_a_kept_base_are_the_bases_alone(manifest: dict[str, Any]) -> None:
    manifest["figures"]["verdict"] |= {"kept": "base", "alpha": 0.0}
    for row in manifest["figures"]["sizes"]:
        for name in ("tuned", "difference", "low", "high"):
            del row[name]
    html = render_report(manifest)
    check_figures(html, manifest)
    text = LexborHTMLParser(html).css("#sizes")[0].text()
    assert "it was trained for none of them" in text and "20.2" in text
    assert "Training was for" not in text
    assert "Leave --nested out" in LexborHTMLParser(html).css(".verdict")[0].text()


@pytest.mark.parametrize(
    ("low", "high", "words", "gain"),
    [
        (0.01, 0.1, "above zero", True),
        (-0.02, 0.1, "contains zero", False),
        (-0.2, -0.01, "below zero", False),
    ],
)
def test_how_sure_follows_the_interval(
    manifest: dict[str, Any], low: float, high: float, words: str, gain: bool
) -> None:
    manifest["figures"]["test"]["differences"][0] |= {"low": low, "high": high}
    page = LexborHTMLParser(render_report(manifest))
    assert words in page.css(".verdict")[0].text()
    assert ("gain" in (page.css(".result")[0].attributes["class"] or "")) == gain


def test_where_the_queries_come_from_is_said(manifest: dict[str, Any]) -> None:
    assert "artificial" in LexborHTMLParser(render_report(manifest)).css(".verdict")[0].text()
    manifest["figures"]["test"]["kind"] = "given"
    verdict = LexborHTMLParser(render_report(manifest)).css(".verdict")[0].text()
    assert "artificial" not in verdict
    assert "given by the user" in verdict


def test_a_leak_is_pointed_out(manifest: dict[str, Any]) -> None:
    assert "(leak)" not in render_report(manifest)
    manifest["figures"]["data"]["leakage"]["near_duplicates_across"] = 2
    assert render_report(manifest).count("(leak)") == 1


def test_skipped_files_are_counted_and_fifty_are_listed(manifest: dict[str, Any]) -> None:
    skipped = [{"path": f"file-{place:03}.bin", "reason": "no text"} for place in range(80)]
    manifest["figures"]["data"] |= {"skipped": skipped, "skipped_count": 4321}
    html = render_report(manifest)
    assert len(re.findall(r"file-\d{3}\.bin", html)) == 50
    assert "Files that were skipped: 4,321" in LexborHTMLParser(html).css("#data")[0].text()
    assert "the first 50 of 4,321" in html


def dictionary_paths(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict):
        for key, child in value.items():
            yield (*path, key)
            yield from dictionary_paths(child, (*path, key))


def without(manifest: dict[str, Any], paths: list[tuple[str, ...]], delete: bool) -> dict[str, Any]:
    changed = copy.deepcopy(manifest)
    for *above, last in paths:
        place: Any = changed
        for key in above:
            place = place.get(key) if isinstance(place, dict) else None
        if isinstance(place, dict) and last in place:
            if delete:
                del place[last]
            else:
                place[last] = None
    return changed


def test_any_part_may_be_null(manifest: dict[str, Any]) -> None:
    for path in dictionary_paths(manifest):
        changed = without(manifest, [path], delete=False)
        html = render_report(changed)
        check_figures(html, changed)
        assert not re.search(r"[>\"]\s*None\s*[<\"]", html), path


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_parts_may_be_missing(manifest: dict[str, Any], data: st.DataObject) -> None:
    paths = list(dictionary_paths(manifest))
    chosen = data.draw(st.lists(st.sampled_from(paths), max_size=12, unique=True))
    changed = without(manifest, chosen, data.draw(st.booleans()))
    check_figures(render_report(changed), changed)
