from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import docx
import pyarrow as pa
import pytest

from isometry.core.errors import InputError
from isometry.corpora.documents import Document
from isometry.corpora.readers import ReadingReport, open_source
from isometry.corpora.readers.compressed import (
    COMPRESSED_SUFFIXES,
    check_zip,
    open_inflated,
    open_zip,
)
from isometry.corpora.readers.folders import suffix_of

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: pa.compress(data, "zstd", asbytes=True),
}
PAGES = {
    "guide/index.md": b"# Guide\n\nSee [rows](../api.rst) and [code](../pkg/tool.py).",
    "api.rst": b".. _deep:\n\nAPI\n===\n\nwords :doc:`guide/index`\n",
    "uses.rst.txt": b"Uses\n====\n\nsee :ref:`deep`\n",
    "page.html": b'<title>T</title><p>words <a href="guide/index.md">x</a>',
    "pkg/tool.py": b"from pkg import other\ndef run():\n    return other.x\n",
    "pkg/other.py": b"def x(): return 1\n",
    "wide.txt": "UTF-16 words".encode("utf-16"),
}


def read(path: Path) -> tuple[list[Document], dict[str, str]]:
    report = ReadingReport()
    documents = list(open_source(path).documents(report))
    assert len({document.id for document in documents}) == len(documents) == report.documents
    return documents, {item.path: item.reason for item in report.skipped}


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def make_zip(files: dict[str, bytes], **options: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def make_tar(files: dict[str, bytes], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("path", "suffix"),
    [
        ("a/PAGE.HTML.gz", ".html"),
        ("a.rst.txt.xz", ".rst"),
        ("a.py.zst", ".py"),
        ("a.PDF.bz2", ".pdf"),
        ("x.csv.gz", ".csv.gz"),
        ("x.jsonl.zst", ".jsonl.zst"),
        ("x.tar.xz", ".tar.xz"),
        ("x.TGZ", ".tgz"),
        ("x.zip", ".zip"),
        ("README.gz", ".gz"),
        ("photo.jpg.gz", ".gz"),
        ("README", ""),
    ],
)
def test_what_decides_how_a_file_is_read(path: str, suffix: str) -> None:
    assert suffix_of(path) == suffix


@pytest.mark.parametrize("suffix", COMPRESSED_SUFFIXES)
def test_a_compressed_page_is_the_page(tmp_path: Path, suffix: str) -> None:
    plain, _ = read(write(tmp_path / "plain", PAGES))
    packed = {name + suffix: COMPRESS[suffix](data) for name, data in PAGES.items()}
    documents, skipped = read(write(tmp_path / "packed", packed))
    assert not skipped
    names = {name: name + suffix for name in PAGES}

    def renamed(document: Document) -> Document:
        path, mark, rest = document.id.partition("#")
        return replace(
            document,
            id=names.get(path, path) + mark + rest,
            title=document.title.replace("wide", "wide.txt"),  # where a file names its page
            group=names.get(document.group, document.group),
            links=tuple(names.get(link, link) for link in document.links),
            source=re.sub(r"^[^:]*", lambda match: names[match[0]], document.source),
        )

    for document, expected in zip(documents, map(renamed, plain), strict=True):
        assert replace(document, id="") == replace(expected, id="")
    assert any(document.links for document in documents)


@pytest.mark.parametrize("suffix", COMPRESSED_SUFFIXES)
def test_members_of_a_compressed_file_follow_on_each_other(suffix: str) -> None:
    first, second = b"one " * 50_000, b"two " * 50_000
    packed = io.BytesIO(COMPRESS[suffix](first) + COMPRESS[suffix](second))
    with open_inflated(packed, suffix) as stream:
        assert stream.read() == first + second
    assert not packed.closed
    broken = packed.getvalue()[:-20]
    with (
        pytest.raises(InputError, match="damaged"),
        open_inflated(io.BytesIO(broken), suffix) as stream,
    ):
        stream.read()


@pytest.mark.parametrize("suffix", COMPRESSED_SUFFIXES)
def test_a_bomb_is_given_up_after_32_megabytes(suffix: str) -> None:
    packed = io.BytesIO(COMPRESS[suffix](bytes(40 << 20)) * 3)
    came = 0
    with (
        pytest.raises(InputError, match="200 times"),
        open_inflated(packed, suffix) as stream,
    ):
        while data := stream.read(1 << 16):
            came += len(data)
    assert 31 << 20 < came <= 32 << 20
    with open_inflated(
        io.BytesIO(COMPRESS[suffix](bytes(5 << 20))), suffix, most=2 << 20
    ) as stream:
        assert stream.read(1 << 20)
        with pytest.raises(InputError, match="2 MB"):
            stream.read()


def test_a_compressed_bomb_costs_a_folder_nothing_but_itself(tmp_path: Path) -> None:
    write(tmp_path, {"a.md.gz": gzip.compress(b"word " * (5 << 20)), "b.md": b"words"})
    documents, skipped = read(tmp_path)
    assert [document.id for document in documents] == ["b.md#b"]
    assert skipped == {"a.md.gz": "it holds more than 20 MB"}


ARCHIVES: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "a.zip": make_zip,
    "a.tar": make_tar,
    "a.tar.gz": lambda files: make_tar(files, "w:gz"),
    "a.tgz": lambda files: make_tar(files, "w:gz"),
    "a.tar.bz2": lambda files: make_tar(files, "w:bz2"),
    "a.tar.xz": lambda files: make_tar(files, "w:xz"),
    "a.tar.zst": lambda files: COMPRESS[".zst"](make_tar(files)),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_is_read_as_the_folder_that_it_holds(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "folder", PAGES)
    plain, _ = read(folder)
    files = {f"./{path}": data for path, data in sorted(PAGES.items())}
    (tmp_path / name).write_bytes(ARCHIVES[name](files))
    documents, skipped = read(tmp_path / name)
    assert not skipped

    def inside(path: str) -> str:
        return f"{name}/{path}" if re.split("[#:]", path)[0] in PAGES else path

    assert documents == [
        replace(
            document,
            id=inside(document.id),
            group=inside(document.group),
            source=inside(document.source),
            links=tuple(map(inside, document.links)),
        )
        for document in plain
    ]
    assert f"{name}/guide/index.md#guide" in {document.id for document in documents}
    # Inside a folder it is the same, and its pages find each other.
    (folder / name).write_bytes((tmp_path / name).read_bytes())
    both, _ = read(folder)
    assert {document.id for document in both if document.id.startswith(name)} == {
        document.id for document in documents if document.id.startswith(name)
    }
    assert {link for document in both for link in document.links} >= {
        "guide/index.md",
        f"{name}/guide/index.md",
    }


def test_the_fingerprint_of_an_archive_is_that_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(b"no archive at all")
    first = open_source(path).fingerprint()
    assert open_source(path).fingerprint() == first
    path.write_bytes(b"no archive either")
    assert open_source(path).fingerprint() != first
    with pytest.raises(InputError, match="Nothing to read") as caught:
        read(path)
    assert "a.zip: damaged" in caught.value.hint


NAMES = {
    "../up.md": "its name leads outside the archive",
    "in/../../up.md": "its name leads outside the archive",
    "/etc/rooted.md": "its name leads outside the archive",
    "..\\up.md": "its name leads outside the archive",
    "C:\\drive.md": "its name leads outside the archive",
    ".": "its name leads outside the archive",
    "inner.zip": "an archive inside an archive",
    "inner.tar.gz": "an archive inside an archive",
    "photo.jpg": "no reader for '.jpg' files",
    "rows.csv": "a table inside an archive; it is read when unpacked",
}


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_names_that_lead_outside_are_skipped_and_named(
    tmp_path: Path, make: Callable[[dict[str, bytes]], bytes]
) -> None:
    files = dict.fromkeys([*NAMES, ".hidden/a.md", "__MACOSX/a.md"], b"words")
    # As wikis name their pages.
    good = dict.fromkeys(["Help:Editing.md", "in/c:d.md"], b"words")
    (tmp_path / "a.x").write_bytes(make(files | good))
    path = (tmp_path / "a.x").rename(tmp_path / ("a.zip" if make is make_zip else "a.tar"))
    report = ReadingReport()
    found = [document.group for document in open_source(path).documents(report)]
    assert found == [f"{path.name}/{name}" for name in good]
    assert len(report.skipped) == len(NAMES)
    assert sorted(item.reason for item in report.skipped) == sorted(NAMES.values())
    assert report.files == len(NAMES) + 3


def test_links_devices_and_repeated_names_in_a_tar(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind in [
            ("soft.md", tarfile.SYMTYPE),
            ("hard.md", tarfile.LNKTYPE),
            ("pipe.md", tarfile.FIFOTYPE),
        ]:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "good.md"
            archive.addfile(entry)
        for text in (b"first words", b"second words"):
            entry = tarfile.TarInfo("good.md")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text))
    (tmp_path / "a.tar").write_bytes(buffer.getvalue())
    (document,), skipped = read(tmp_path / "a.tar")
    assert document.text == "first words"
    assert skipped == {
        "a.tar/soft.md": "a link",
        "a.tar/hard.md": "a link",
        "a.tar/pipe.md": "no plain file",
        "a.tar/good.md": "its name came before in the archive",
    }


def test_links_and_encrypted_members_of_a_zip(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("link.md")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "good.md")
        archive.writestr("secret.md", "words")
        archive.writestr("good.md", "words")
        archive.writestr("rare.md", "words", compress_type=zipfile.ZIP_LZMA)
    data = encrypted(buffer.getvalue(), b"secret.md")
    (tmp_path / "a.zip").write_bytes(data)
    (document,), skipped = read(tmp_path / "a.zip")
    assert document.id == "a.zip/good.md#good"
    assert skipped == {
        "a.zip/link.md": "a link",
        "a.zip/secret.md": "encrypted",
        "a.zip/rare.md": "compressed by a method that is not read (14)",
    }
    with pytest.raises(InputError, match=r"^encrypted"):
        check_zip(io.BytesIO(data))


def encrypted(data: bytes, name: bytes) -> bytes:
    """A ZIP file whose directory says that a member is encrypted."""
    entry = data.rindex(b"PK\1\2", 0, data.rindex(name))
    return data[: entry + 8] + b"\1\0" + data[entry + 10 :]


def test_a_truncated_archive_gives_what_it_has(tmp_path: Path) -> None:
    random = Random(0)
    files = {f"{number}.md": random.randbytes(200).hex().encode() for number in range(500)}
    whole = make_tar(files)
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(whole)[:-1000])
    (tmp_path / "b.tar").write_bytes(whole[: 1024 * 7 + 515])
    documents, skipped = read(tmp_path)
    read_names = {document.group for document in documents}
    assert {"a.tar.gz/0.md", "a.tar.gz/200.md", "b.tar/0.md", "b.tar/6.md"} <= read_names
    assert "damaged" in skipped["a.tar.gz"]
    assert set(skipped) <= {"a.tar.gz", "b.tar", "b.tar/7.md"}


def test_a_tar_bomb_is_given_up(tmp_path: Path) -> None:
    # The bytes between the members inflate too, though nobody reads them.
    files = {"a.md": b"words", "b.bin": bytes(80 << 20), "c.md": b"words"}
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(make_tar(files), 9))
    report = ReadingReport()
    documents = list(open_source(tmp_path).documents(report))
    assert [document.id for document in documents] == ["a.tar.gz/a.md#a"]
    assert report.skipped[-1].path == "a.tar.gz"
    assert report.skipped[-1].reason == "it inflates to more than 200 times its size"


def test_a_tar_may_not_have_a_name_without_end(tmp_path: Path) -> None:
    entry = tarfile.TarInfo("a.md")
    entry.type, entry.size = tarfile.XHDTYPE, 9 << 20
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(entry.tobuf() + bytes(10 << 20)))
    (tmp_path / "b.md").write_bytes(b"words")
    _, skipped = read(tmp_path)
    assert skipped == {"a.tar.gz": "damaged: a name or note in it is longer than 1 MB"}


def test_check_zip_passes_real_files_and_gives_them_back_at_their_start() -> None:
    path = Path(docx.__file__).parent / "templates" / "default.docx"
    check_zip(path)
    with path.open("rb") as file:
        check_zip(file)
        assert file.tell() == 0
    with pytest.raises(InputError, match="0 MB"):
        check_zip(path, most=10_000)


def test_check_zip_refuses_what_is_damaged_or_a_bomb() -> None:
    good = make_zip({"a.xml": b"words " * 1000})
    middle = good.index(b"PK\1\2") // 2
    cases = [
        (b"", "damaged"),
        (b"junk" * 100, "damaged"),
        (good[:-30], "damaged"),
        (good[:middle] + b"\xff\x00\xff\x00" + good[middle + 4 :], "damaged"),
        (make_zip({"a.xml": bytes(40 << 20)}), "200 times"),
        # One member of the directory, listed again and again.
        (repeated(make_zip({"a.xml": bytes(2 << 20)}), 100), "200 times"),
    ]
    for data, message in cases:
        with pytest.raises(InputError, match=message):
            check_zip(io.BytesIO(data))


def repeated(data: bytes, times: int) -> bytes:
    start, end = data.index(b"PK\1\2"), data.index(b"PK\5\6")
    directory = data[start:end] * times
    tail = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, times, times, len(directory), start, 0)
    return data[:start] + directory + tail


@pytest.mark.parametrize("declared", [10, 1 << 31])
def test_declared_sizes_are_not_believed(declared: int) -> None:
    honest = make_zip({"a.xml": b"words " * 1000})
    entry = honest.index(b"PK\1\2")
    lying = honest[: entry + 24] + struct.pack("<L", declared) + honest[entry + 28 :]
    if declared == 10:
        with pytest.raises(InputError, match="damaged"):
            check_zip(io.BytesIO(lying))
    else:
        with open_zip(io.BytesIO(lying)) as archive:
            assert archive.read("a.xml", 6000) == b"words " * 1000
            with pytest.raises(InputError, match="0 MB"):
                archive.read("a.xml", 5999)
            with pytest.raises(InputError, match=r"no 'b\.xml'"):
                archive.read("b.xml", 10)
