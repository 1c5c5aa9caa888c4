from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isometry.corpora.readers.decoding import decode, is_binary

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n\r\t"))


def normalised(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


@given(TEXT, st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_unicode_round_trip(text: str, encoding: str) -> None:
    text = text.lstrip("\ufeff")
    assert decode(text.encode(encoding)) == normalised(text)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        (
            "cp1252",
            "Größere Übungen für Anfänger: die Straße führt über die Brücke nach Köln. " * 3,
        ),
        ("cp1252", "Größe und Länge, in Köln gemessen."),
        ("cp1252", "Plain English with a “quoted” word, that isn’t naïve at all."),
        ("cp1251", "Съешь же ещё этих мягких французских булок, да выпей чаю. " * 3),
        ("shift_jis", "吾輩は猫である。名前はまだ無い。どこで生れたか頓と見当がつかぬ。" * 3),
        ("utf-16-be", "\ufeffBig-endian, wie früher üblich"),
    ],
)
def test_older_encodings(encoding: str, text: str) -> None:
    assert decode(text.encode(encoding)) == text.removeprefix("\ufeff")


@pytest.mark.parametrize(
    ("declaration", "encoding"),
    [
        ('<meta charset="gb2312">', "gb18030"),
        ('<?xml version="1.0" encoding="GBK"?>', "gb18030"),
        ('<meta http-equiv="Content-Type" content="text/html; charset=euc-kr">', "euc_kr"),
        ("<meta charset=shift_jis>", "shift_jis"),
    ],
)
def test_what_a_page_declares_counts_where_it_can_be(declaration: str, encoding: str) -> None:
    text = (
        "비밀 번호"
        if encoding == "euc_kr"
        else "金銭"
        if encoding == "shift_jis"
        else "密钥每年更换一次。"
    )
    page = f"\n<html>{declaration}<p>{text}"
    assert decode(page.encode(encoding)) == page
    # A page that says so and is UTF-8 is that, as is one that cannot be what it says.
    assert decode(page.encode()) == page
    wrong = '<meta charset="gb2312"><p>Größe ist kein ä, in Köln.</p>'
    assert decode(wrong.encode("cp1252")) == wrong
    # A text about pages declares nothing.
    about = 'Write charset="iso-8859-5" in the page: „Größe“ und Länge, in Köln gemessen.'
    assert decode(about.encode("cp1252")) == about


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1254", "Şifre değiştirme kılavuzu: önce giriş yapın."),
        ("cp1254", "Café Pera'da akşam yemeği: çorba, balık ve tatlı sıcak servis edilir, ışıkta."),
        ("cp1257", "Slaptažodžių keitimas: pirmiausia prisijunkite. Būsena čia aiški."),
        ("cp1257", "Katru mēnesi mainīt paroles ir ļoti svarīgi; žurnāls glabājas šeit."),
        ("cp1257", "Õpetaja ütles, et žürii otsus on lõplik, šokolaad üle öö."),
        # In the same bytes, and of these code pages by far the most frequent.
        ("cp1252", "Þórður sagði að það væri gott að búa í Reykjavík og sýna vinsemd."),
        ("cp1252", "Það er gott að vera með þér"),
        ("cp1252", "Tað er gott at vera heima hjá øðrum, men maðurin kom ikki aftur við teimum."),
        ("cp1252", "à la crème, là où le père aime la mère"),
        ("cp1252", "Größe und Länge über alles."),
        ("cp1250", "Đak čeka žuti ćup; korisnik je ne smije dijeliti s drugim ljudima, Šime."),
    ],
)
def test_code_pages_that_share_most_letters_are_told_by_the_others(
    encoding: str, text: str
) -> None:
    for times in (1, 3):
        assert decode((text * times).encode(encoding)) == text * times


def test_the_coding_that_source_code_declares_counts_where_it_can_be() -> None:
    text = "NAME = 'ключ'\n"
    for head in (
        "# -*- coding: koi8-r -*-\n",
        "#!/usr/bin/python\n# vim: set fileencoding=koi8-r :\n",
    ):
        assert decode((head + text).encode("koi8-r")) == head + text
    # Neither code above it nor a third line, nor a codec that gives no text.
    name = "NAME = 'Größe und Länge, in Köln gemessen'\n"
    for head in ("x = 1\n# coding: koi8-r\n", "#\n#\n# coding: koi8-r\n", "# coding: hex\n"):
        assert decode((head + name).encode("cp1252")) == head + name


def test_one_bad_byte_does_not_turn_a_page_into_mojibake() -> None:
    text = "Die Straße führt über die Brücke. " * 50
    data = text.encode() + b"\xff" + text.encode()
    assert decode(data) == text + "\ufffd" + text


def test_binary_is_hopeless() -> None:
    noise = random.Random(0).randbytes(8192)
    assert is_binary(noise)
    assert decode(noise) is None
    assert decode(b"PK\x03\x04\x00\x00 and more") is None
    assert not is_binary("text".encode("utf-16"))


def test_japanese_in_the_bytes_of_ascii_is_no_utf_8() -> None:
    text = "日本語の文書です。\nplain words\n"
    assert decode(text.encode("iso2022_jp")) == text


def test_one_bad_byte_among_few_others_makes_no_other_page() -> None:
    words = "It’s a “quote” – and here’s more… of the author’s own words. " * 2
    data = words.encode() + b"\x92 end"
    found = decode(data)
    assert found is not None and found.startswith(words) and found.endswith(" end")
