from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from isometry.corpora.documents import Document
from isometry.corpora.readers import ReadingReport, open_source
from isometry.corpora.readers.html import read_html
from isometry.corpora.readers.markdown import read_markdown
from isometry.corpora.readers.markup import Links, page_documents

INSTALLED = sorted(Path(sysconfig.get_paths()["purelib"]).rglob("*.md"))


def read(text: str, links: Links | None = None) -> list[Document]:
    return page_documents(read_html(text), "docs/page.html", links or Links())


def test_only_the_main_part_of_a_page_is_read() -> None:
    page = """<!doctype html><html><head><title>The &amp; page</title><style>no{}</style></head>
      <body>
      <header>no</header><nav><a href="b.html">no</a></nav>
      <main><header><h1>Head<a class="headerlink" href="#h">¶</a></h1></header>
        <p>One <b>bo</b>ld\n   word.<br>Two.</p><img alt="no">
        <pre>a\n  b</pre><script>no</script><!-- no -->
        <ul><li>x</li><li>y</li></ul>
        <h3>Sub</h3><table><tr><td>c</td><td>d</td></tr></table><a href="../b.html#z">b</a>
      </main><footer>no</footer></body></html>"""
    head, sub = read(page, Links({"b.html": "b.html", "docs/b.html": "wrong"}))
    assert head.header() == "The & page > Head"
    assert head.text == "One bold word.\nTwo.\n\na\n  b\n\nx\ny"
    assert (head.links, sub.links) == ((), ("b.html",))
    assert sub.header() == "The & page > Head > Sub"
    assert sub.text == "c d\n\nb"


def test_without_main_the_body_is_read() -> None:
    (document,) = read("<header>no</header><nav>no</nav><div>yes</div><main> </main>")
    assert document.text == "yes"
    assert len(read("<article><p>a</p></article><article><p>b</p></article>")) == 1
    assert read("<article><p>a</p></article><article><p>b</p></article>")[0].text == "a\n\nb"


def test_lines_are_made_by_breaks_and_blocks_in_headings_and_in_code() -> None:
    (document,) = read(
        "<body><h1>Title<br>Part <i>t</i>wo<button>Copy</button></h1>"
        "<pre>one<br>two<div>three</div><div>four</div></pre></body>"
    )
    assert document.header() == "Title Part two"
    assert document.text == "one\ntwo\nthree\nfour"


def test_the_header_of_an_article_is_its_own_wherever_it_stands() -> None:
    article = "<article><header><h2>{0} title</h2></header><p>{0} text</p></article>"
    first, second = (article.format(name) for name in ("First", "Second"))
    found = read(f"<body><header>Site</header>{first}{second}</body>")
    assert [each.text for each in found] == ["First text", "Second text"]
    headers = [each.header() for each in found]
    assert headers[0] == "First title" and headers[1].endswith("Second title")
    assert "Site" not in " ".join(headers)


def test_an_aside_is_a_block_of_its_page_and_no_text_of_its_site() -> None:
    page = "<body><aside>Site</aside>{}</body>"
    # As Starlight and docutils write admonitions.
    noted = "One <aside><p>Caution</p><p>It is hot.</p></aside> two<aside><nav>no</nav></aside>"
    text = "One\n\nCaution\n\nIt is hot.\n\ntwo"
    for tag in ("main", "article"):
        assert read(page.format(f"<{tag}>{noted}</{tag}>"))[0].text == text
    articles = f"<article>{noted}</article><article>Three</article>"
    assert read(page.format(articles))[0].text == f"{text}\n\nThree"
    assert read(page.format(f"<div>{noted}</div>"))[0].text == "One two"


def test_the_readings_of_ruby_cut_no_word() -> None:
    ruby = "<ruby>東<rp>(</rp><rt>とう</rt><rp>)</rp>京<rp>(</rp><rt>きょう</rt><rp>)</rp></ruby>"
    old = "<ruby><rb>京</rb><rb>都</rb><rtc><rt>きょう</rt><rt>と</rt></rtc></ruby>"
    (document,) = read(f"<h1>{ruby}の駅</h1><p>これは{ruby}です。<pre>{old}</pre>")
    assert (document.title, document.text) == ("東京の駅", "これは東京です。\n\n京都")


def test_deep_and_broken_pages() -> None:
    assert read("<div>" * 5000 + "deep" + "</div>" * 10)[0].text == "deep"
    assert read("") == []
    assert read("<p>open <b>bold <i>mixed</b> end")[0].text == "open bold mixed end"


@pytest.mark.parametrize("path", INSTALLED[3::11], ids=lambda path: path.name)
def test_a_markdown_page_reads_the_same_as_its_html(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    text = text[text.find("\n---\n") + 5 :] if text.startswith("---\n") else text
    html = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text)

    def pieces(documents: list[Document]) -> list[tuple[str, list[str]]]:
        return [(document.title, document.text.split()) for document in documents]

    expected = page_documents(read_markdown(text), "docs/page.html", Links())
    assert pieces(read(html)) == pieces(expected)


def test_soft_hyphens_divide_no_word_of_prose_nor_of_an_id(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        "<title>Donau&shy;dampf</title><h1>Donaudampf</h1>"
        "<h2>Die Schiff&shy;fahrt</h2><p>Ein Dampf&shy;schiff fa&#x308;hrt."
    )
    # In Markdown, code may mean them.
    text = "# Die Schiff\u00adfahrt\n\nEin Dampf\u00adschiff, `a\u00adb`\n"
    (tmp_path / "b.md").write_text(text, encoding="utf-8")
    code = "def f():\n    return '\u00ad' + 'Dampf\u00adschiff'"
    (tmp_path / "c.py").write_text(code, encoding="utf-8")
    page, other, function = open_source(tmp_path).documents(ReadingReport())
    assert page.id == "a.html#die-schifffahrt"
    assert page.header() == "Donaudampf > Die Schifffahrt"
    assert page.text == "Ein Dampfschiff fährt."
    assert other.id == "b.md#die-schifffahrt"
    assert other.text == "Ein Dampfschiff, a\u00adb"
    assert function.text == code
