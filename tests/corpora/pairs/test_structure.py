from __future__ import annotations

import ast
import random
import sysconfig
from collections import Counter
from pathlib import Path

import pytest

from isometry.core.errors import InputError
from isometry.corpora.curation.dedup import normalize
from isometry.corpora.documents import Document
from isometry.corpora.pairs.queries import (
    further_queries,
    heading_query,
    inverse_cloze,
    split_identifier,
    summary_query,
)
from isometry.corpora.pairs.structure import (
    BodyFirst,
    HeadingSection,
    InverseCloze,
    LinkPrediction,
    Mix,
    SummaryBody,
    build_pairs,
    choose_builder,
)
from isometry.corpora.pairs.tasks import group_pages
from isometry.corpora.views.sentences import sentence_spans, sentences

STANDARD_LIBRARY = Path(sysconfig.get_paths()["stdlib"])
MODULES = ["textwrap", "shutil", "heapq", "statistics", "configparser", "json/decoder", "socket"]


PAGES = [*MODULES, "tempfile", "ssl", "optparse"]  # these import others of the list


def functions() -> list[Document]:
    found = []
    for name in MODULES:
        source = (STANDARD_LIBRARY / f"{name}.py").read_text(encoding="utf-8")
        lines = source.splitlines()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                summary = ast.get_docstring(node) or ""
                kept = lines[node.lineno - 1 : node.end_lineno]
                if summary:
                    first = node.body[0]
                    del kept[first.lineno - node.lineno : (first.end_lineno or 0) - node.lineno + 1]
                found.append(
                    Document(
                        f"{name}:{node.lineno}",
                        "\n".join(kept),
                        node.name,
                        name,
                        summary,
                        name,
                        node.lineno,
                        "code",
                    )
                )
    return found


def sections() -> list[Document]:
    """Modules as pages: the module's docstring, then each documented function as a section."""
    found = []
    for name in PAGES:
        tree = ast.parse((STANDARD_LIBRARY / f"{name}.py").read_text(encoding="utf-8"))
        links = tuple(
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        )
        text = ast.get_docstring(tree) or ""
        found.append(Document(name, text, name, "", "", name, 0, links=links))
        for node in ast.walk(tree):
            text = ast.get_docstring(node) if isinstance(node, ast.FunctionDef) else None
            if isinstance(node, ast.FunctionDef) and text:
                title = node.name.replace("_", " ").strip()
                found.append(
                    Document(f"{name}:{node.lineno}", text, title, name, "", name, node.lineno)
                )
    return found


FUNCTIONS = functions()
SECTIONS = sections()


@pytest.mark.parametrize("builder", [SummaryBody(), SummaryBody(everything=True), HeadingSection()])
def test_no_passage_of_the_standard_library_shows_its_query(builder) -> None:
    documents = SECTIONS if isinstance(builder, HeadingSection) else FUNCTIONS
    pairs, _ = build_pairs(documents, [builder], 0)
    assert len(pairs) > 100
    for pair in pairs:
        assert normalize(pair.query) not in normalize(f"{pair.header}\n{pair.body}")
        assert "\n" not in pair.query


def test_an_evaluated_passage_is_what_the_view_shows_of_its_document() -> None:
    for builder, documents in ((SummaryBody(), FUNCTIONS), (HeadingSection(), SECTIONS)):
        views = {document.id: builder.view(document) for document in documents}
        for pair in build_pairs(documents, [builder], 0)[0]:
            assert (pair.header, pair.body) == views[pair.document]


def test_a_summary_hides_whole_and_everything_adds_prose_and_names_of_the_same_document() -> None:
    summary = (
        "shuffle(x, *, seed)\n\nShuffle the list\nin place.\n\n>>> shuffle([1, 2, 3, 4])\n\n"
        "Parameters\n----------\nx : list\n\nThe generator is seeded with the clock.\n\nShort one."
    )
    document = Document("d", "def f(): pass", "RandomState.shuffle_list", "m", summary, kind="code")
    first, *further = SummaryBody(everything=True).pairs([document], random.Random(0))
    assert (first.query, first.header) == ("Shuffle the list in place.", document.header())
    assert first.body == document.text
    assert [pair.query for pair in further] == [
        "The generator is seeded with the clock.",
        "Random State shuffle list",
    ]
    assert [pair.header for pair in further] == [document.header(), "m"]
    assert {pair.document for pair in further} == {"d"}
    assert [p.query for p in SummaryBody().pairs([document], random.Random(0))] == [first.query]


@pytest.mark.parametrize(
    "summary",
    [
        "Too short this",
        ">>> add(1, 2, 3, 4)\n7",
        ".. deprecated:: 3.2 use the other",
        "f(a, b, c, d) -> int",
        ":param x: the first of all",
        "(typ, [data]) = <instance>.status(mailbox, names)",
        "",
    ],
)
def test_what_is_no_prose_of_four_words_is_no_query(summary: str) -> None:
    assert summary_query(summary) == ""


def test_further_queries_are_three_at_most_and_identifiers_split_into_words() -> None:
    assert further_queries(
        "\n\n".join(f"This is paragraph number {i} here." for i in range(9))
    ) == [f"This is paragraph number {i} here." for i in (1, 2, 3)]
    assert split_identifier("HTTPServer.do_GET") == "HTTP Server do GET"
    assert split_identifier("read_utf8Text") == "read utf 8 Text"


def test_generic_headings_need_the_heading_above_and_short_ones_take_it() -> None:
    def query(title: str, context: str = "Guide > Sockets") -> str:
        return heading_query(Document("d", "text", title, context))

    assert query("Opening a socket") == "Opening a socket"
    assert query("See also") == "Sockets See also"
    assert query("Timeouts") == "Sockets Timeouts"
    assert query("Seizure", "") == "Seizure"
    assert query("Examples", "") == query("") == ""


def test_inverse_cloze_hides_the_sentence_and_keeps_the_others_in_order() -> None:
    pairs = [
        pair
        for page in group_pages(SECTIONS).values()
        for pair in InverseCloze(keep=0.0).pairs(page, random.Random(0))
    ]
    bodies = {document.id: sentences(document.text) for document in SECTIONS}
    assert len(pairs) > 50
    for pair in pairs:
        assert normalize(pair.query) not in normalize(pair.body)
        whole = bodies[pair.document]
        assert pair.query in whole
        rest = [sentence for sentence in whole if sentence != pair.query]
        positions = [normalize(pair.body).find(normalize(sentence)) for sentence in rest]
        assert -1 not in positions
    text = "One two three four. Five six seven eight. Nine ten eleven twelve."
    query, rest = inverse_cloze(text, sentence_spans(text), 1)
    assert (query, sentences(rest)) == (
        "Five six seven eight.",
        ["One two three four.", "Nine ten eleven twelve."],
    )


def test_inverse_cloze_keeps_the_sentence_as_often_as_asked() -> None:
    page = [
        Document(str(i), f"The first sentence is {i}. The second sentence is {i}.", order=i)
        for i in range(2000)
    ]
    for keep in (0.0, 0.1, 1.0):
        pairs = list(InverseCloze(keep).pairs(page, random.Random(0)))
        kept = sum(pair.query in pair.body for pair in pairs) / len(pairs)
        assert kept == pytest.approx(keep, abs=0.03 * (0 < keep < 1))
    assert Counter(pair.query.split()[1] for pair in pairs)["first"] == pytest.approx(1000, abs=100)


def test_one_sentence_gives_no_pair_but_an_error_below() -> None:
    page = [Document("d", "There is one sentence only here.")]
    assert list(InverseCloze().pairs(page, random.Random(0))) == []
    assert list(BodyFirst().pairs(page, random.Random(0))) == []
    with pytest.raises(ValueError, match="two sentences"):
        inverse_cloze(page[0].text, sentence_spans(page[0].text), 0)


def test_code_without_a_docstring_asks_by_its_lines() -> None:
    page = [document for document in FUNCTIONS if not document.summary]
    pairs = list(InverseCloze(keep=0.0).pairs(page, random.Random(0)))
    texts = {document.id: document.text for document in page}
    assert len(pairs) > 50
    assert all(pair.query.split()[0] in texts[pair.document] for pair in pairs)


def test_body_first_asks_from_the_first_section_for_another_of_the_page() -> None:
    pages = group_pages(SECTIONS)
    made = 0
    for page in pages.values():
        pairs = list(BodyFirst().pairs(page, random.Random(0)))
        made += len(pairs)
        for pair in pairs:
            assert pair.document != page[0].id
            assert pair.query in sentences(page[0].text)
        assert len({pair.query for pair in pairs}) == len({p.document for p in pairs}) == len(pairs)
    assert made > 20
    first = "The first section has four. The second sentence is here. And this is the third."
    page = [Document("0", first), *(Document(str(i), f"Body {i}.", order=i) for i in (1, 2, 3))]
    for seed in range(5):
        made_of = [pair.document for pair in BodyFirst().pairs(page, random.Random(seed))]
        assert sorted(made_of) == ["1", "2", "3"]
    empty = [Document("0", "", group="p"), *pages["shutil"][1:]]
    assert list(BodyFirst().pairs(empty, random.Random(0))) == []


def test_link_prediction_takes_passages_of_pages_that_link_to_the_asking_page() -> None:
    pages = group_pages(SECTIONS)
    owner = {document.id: document.group for document in SECTIONS}
    links = {name: {link for d in page for link in d.links} for name, page in pages.items()}
    pairs = list(LinkPrediction().pairs(pages, random.Random(0)))
    assert pairs
    reverse = 0
    for pair in pairs:
        (asking,) = (n for n, page in pages.items() if pair.query in sentences(page[0].text))
        assert owner[pair.document] != asking == pair.asker
        assert asking in links[owner[pair.document]]
        reverse += owner[pair.document] in links[asking]
    assert reverse < len(pairs)
    unlinked = {name: pages[name] for name in ("heapq", "textwrap")}
    with pytest.raises(InputError, match="No page links"):
        list(LinkPrediction().pairs(unlinked, random.Random(0)))


def test_mix_keeps_the_shares_to_the_end() -> None:
    documents = [
        Document(f"{g}/{i}", f"Sentence one of {g} {i}. Sentence two of {g} {i}.", group=g, order=i)
        for g in map(str, range(300))
        for i in range(4)
    ]
    mix = Mix([InverseCloze(), BodyFirst()], [1.0, 3.0])
    tasks = [pair.task for pair in mix.pairs(group_pages(documents), random.Random(0))]
    half = len(tasks) // 2
    for part in (tasks[:half], tasks[half:]):
        assert part.count("body_first") / len(part) == pytest.approx(0.75, abs=0.08)
    assert build_pairs(documents, [mix], 0)[0]


def test_pairs_are_the_same_for_a_seed_and_differ_with_it() -> None:
    builders = [InverseCloze(), BodyFirst(), LinkPrediction()]
    assert build_pairs(SECTIONS, builders, 1) == build_pairs(SECTIONS, builders, 1)
    assert build_pairs(SECTIONS, builders, 1) != build_pairs(SECTIONS, builders, 2)


def test_equal_pairs_are_one_and_a_query_of_two_documents_is_dropped_and_counted() -> None:
    same = "Return the value of the key."
    documents = [
        Document("a", "return self[a]", summary=same, kind="code", group="x"),
        Document("b", "return self[b]", summary=same.upper(), kind="code", group="y"),
        Document("c", "return self.c", summary="Return the third of the things.", kind="code"),
    ]
    pairs, dropped = build_pairs(documents, [SummaryBody(), SummaryBody()], 0)
    assert [pair.document for pair in pairs] == ["c"]
    assert dropped == 2


def test_the_choice_follows_what_the_documents_have() -> None:
    summarized = [document for document in FUNCTIONS if document.summary]
    builder, training, reason = choose_builder(summarized)
    assert (builder, training) == (SummaryBody(), [SummaryBody()])
    assert f"of {len(summarized):,} documents" in reason

    builder, training, reason = choose_builder(SECTIONS)
    assert builder == HeadingSection()
    assert training == [HeadingSection(), InverseCloze(), BodyFirst(), LinkPrediction()]
    assert "heading" in reason

    bare = [document for document in FUNCTIONS if not document.summary]
    assert choose_builder(bare)[:2] == (InverseCloze(keep=0.0), [InverseCloze()])
    with pytest.raises(InputError, match="no documents"):
        choose_builder([])


def test_titles_that_are_file_names_or_all_the_same_are_no_headings() -> None:
    texts = [document.text for document in SECTIONS][:20]

    def files(title: str) -> list[Document]:
        return [
            Document(str(i), text, title.format(i), group=f"notes/my_notes_{i}.txt")
            for i, text in enumerate(texts)
        ]

    assert isinstance(choose_builder(files("my notes {}"))[0], InverseCloze)
    assert isinstance(choose_builder(files("The same heading"))[0], InverseCloze)
    assert isinstance(choose_builder(files("How to bake {} loaves"))[0], HeadingSection)
