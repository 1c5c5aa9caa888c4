from __future__ import annotations

from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from isometry.core.errors import InputError
from isometry.corpora.documents import Document
from isometry.corpora.readers import ReadingReport, open_source

TABLE = pa.table(
    {
        "id": pa.array(range(10, 5010)),
        "picture": pa.array([b"\0" * 10] * 5000),
        "said": pa.array([f"What row {n} has to say for itself" for n in range(5000)]),
        "topic": pa.array(["a topic that is long, and comes again"] * 5000).dictionary_encode(),
    }
)


def read(spec: str | Path, **options: str) -> list[Document]:
    return list(open_source(spec, **options).documents(ReadingReport()))


def write(path: Path, kind: str, table: pa.Table = TABLE) -> None:
    if kind == "stream":
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=700)
    elif kind == "file":
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    else:
        feather.write_feather(table, str(path), compression=kind)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.arrow", "file"),
        ("a.ARROW", "stream"),
        ("a.ipc", "stream"),
        ("a.feather", "lz4"),
        ("b.feather", "zstd"),
    ],
)
def test_arrow_files_say_what_parquet_says(tmp_path: Path, name: str, kind: str) -> None:
    pq.write_table(TABLE, tmp_path / "a.parquet")
    write(tmp_path / name, kind)
    for options in ({"text": "said"}, {"text": "topic", "id": "said"}, {}):
        expected, found = read(tmp_path / "a.parquet", **options), read(tmp_path / name, **options)
        assert [(a.id, a.text) for a in found] == [(b.id, b.text) for b in expected]
    assert len(found) == 5000
    assert found[-1].id == "5009"
    assert found[-1].source == f"{name}:5000"


@pytest.mark.parametrize("kind", ["parquet", "zstd", "file"])
def test_a_bomb_is_given_up_and_what_only_compresses_well_is_read(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / ("a.parquet" if kind == "parquet" else "a.arrow")
    page = "words that come again and again " * 8192

    def save(values: list[str]) -> int:
        texts = pa.array(values)
        # Uncompressed, each text may stand in the file only once.
        table = pa.table({"text": texts.dictionary_encode() if kind == "file" else texts})
        if kind == "parquet":
            pq.write_table(table, path, compression="zstd")
        else:
            write(path, kind, table)
        return 200 * path.stat().st_size

    assert save([page] * 320) < 320 * len(page)
    report = ReadingReport()
    assert 0 < len(list(open_source(path).documents(report))) < 320
    assert "it inflates to more than 200 times its size" in report.skipped[0].reason
    texts = [f"{number} {page}" for number in range(160)]
    random = Random(0)
    texts += [f"{random.getrandbits(64):x}" for _ in range(40_000)]
    assert 1 << 25 < 160 * len(page) < save(texts)
    assert [document.text for document in read(path)] == [text.strip() for text in texts]


def test_the_size_of_a_text_is_counted_once(tmp_path: Path) -> None:
    texts = pa.array([f"What row {n} has to say " * 40 for n in range(5000)])
    for kind in (pa.string_view(), pa.dictionary(pa.int32(), pa.string())):
        write(tmp_path / "a.arrow", "file", pa.table({"text": texts.cast(kind)}))
        assert len(read(tmp_path / "a.arrow")) == 5000


def test_wrong_offsets_are_no_crash(tmp_path: Path) -> None:
    offsets = pa.py_buffer(b"".join(n.to_bytes(4, "little") for n in (0, 1 << 30, 4, 5)))
    broken = pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(b"words")])
    path = tmp_path / "a.arrow"
    write(path, "stream", pa.table({"text": broken}))
    with pytest.raises(InputError, match=r"Cannot read a\.arrow|Nothing to read"):
        read(path)


@pytest.mark.parametrize("content", [b"", b"ARROW1\0\0", b"words", b"\xff\xff\xff\xff\x10\0\0\0"])
def test_what_is_no_arrow_file_is_an_input_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.arrow"
    path.write_bytes(content)
    with pytest.raises(InputError, match="Cannot read"):
        open_source(path)


def test_a_truncated_file_gives_what_comes_before(tmp_path: Path) -> None:
    path = tmp_path / "a.arrow"
    write(path, "stream")
    path.write_bytes(path.read_bytes()[:-5000])
    report = ReadingReport()
    documents = list(open_source(path, text="said").documents(report))
    assert 0 < len(documents) < 5000
    assert [item.path for item in report.skipped] == ["a.arrow"]


def test_a_saved_data_set_is_what_datasets_loads(tmp_path: Path) -> None:
    import datasets

    datasets.disable_progress_bars()
    data = datasets.Dataset.from_dict(
        {"text": [f"The text of row {n}" for n in range(90)], "number": list(range(90))}
    )
    whole, parts, both = tmp_path / "whole", tmp_path / "parts", tmp_path / "both"
    data.save_to_disk(whole)
    data.save_to_disk(parts, num_shards=3)
    splits = {"train": data.select(range(50)), "test": data.select(range(50, 90))}
    datasets.DatasetDict(splits).save_to_disk(both)
    # What `map` leaves beside the data is no data.
    (parts / "cache-0123.arrow").write_bytes((parts / "data-00000-of-00003.arrow").read_bytes())
    loaded = datasets.load_from_disk(str(parts))["text"]
    assert [item.text for item in read(parts)] == list(loaded)
    assert [item.id for item in read(parts)] == [str(n) for n in range(1, 91)]
    assert [(a.id, a.text) for a in read(parts)] == [(b.id, b.text) for b in read(whole)]
    assert len(read(both)) == 50
    assert len(read(both / "test")) == 40
    source = open_source(parts)
    before = source.fingerprint()
    data.select(range(89)).save_to_disk(tmp_path / "fewer", num_shards=3)
    assert open_source(tmp_path / "fewer").fingerprint() != before
    (parts / "data-00001-of-00003.arrow").unlink()
    with pytest.raises(InputError, match=r"no file .*data-00001-of-00003\.arrow"):
        open_source(parts)
    datasets.DatasetDict({"dev": data, "test": data}).save_to_disk(tmp_path / "splits")
    with pytest.raises(InputError, match="several splits: dev, test") as caught:
        open_source(tmp_path / "splits")
    assert str(tmp_path / "splits" / "dev") in caught.value.hint


def test_a_saved_data_set_cannot_lead_out_of_its_folder(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    write(tmp_path / "secret.arrow", "stream")
    (inside / "dataset_info.json").write_text("{}")
    (inside / "state.json").write_text('{"_data_files": [{"filename": "../secret.arrow"}]}')
    with pytest.raises(InputError, match="no file"):
        open_source(inside)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("dataset_dict.json", "[1]"),
        ("state.json", "[1]"),
        ("state.json", '{"_data_files": [{"name": "a.arrow"}]}'),
    ],
)
def test_other_programs_have_files_of_these_names(tmp_path: Path, file: str, text: str) -> None:
    (tmp_path / "dataset_info.json").write_text("{}")
    (tmp_path / file).write_text(text)
    (tmp_path / "a.md").write_text("# One\n\nwords")
    (document,) = read(tmp_path)
    assert document.text == "words"
