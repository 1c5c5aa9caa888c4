"""A Space's passages in the storage of a real server that speaks S3."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from living_spaces import QUERIES, alike, change, hits
from moto.server import ThreadedMotoServer
from pyarrow.fs import FileSelector, FileType, S3FileSystem

import isometry
from isometry import InputError, Space
from isometry.cli.main import main
from isometry.core.writing import write_json
from isometry.jobs import export as module
from isometry.search.lancedb import ChunkIndex, Lexical, chunk_schema
from isometry.search.object_storage import Storage

FILTER = {"order": {"gte": 1}, "id": {"not": ["heapq.merge", "heapq.heappush"]}}


@pytest.fixture(scope="module")
def bucket() -> Iterator[S3FileSystem]:
    """Where the bucket "shelf" is; the environment says so to everybody."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "somebody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        files = S3FileSystem(endpoint_override=f"{host}:{port}", scheme="http",
                             allow_bucket_creation=True)  # fmt: skip
        files.create_dir("shelf")
        yield files
    server.stop()


def listed(bucket: S3FileSystem, prefix: str) -> dict[str, int]:
    """The files under a prefix with their sizes."""
    found = bucket.get_file_info(FileSelector(prefix, recursive=True, allow_not_found=True))
    return {file.path: file.size for file in found if file.type == FileType.File}


def manifest_of(bucket: S3FileSystem, prefix: str) -> dict[str, Any]:
    return json.loads(bucket.open_input_stream(f"{prefix}/export.json").read())


def same(there: Space, here: Space) -> bool:
    """Whether the very same is found, since the files are the same."""
    return all(there.search(query) == here.search(query) for query in QUERIES[:2])


def complaint(space: Path, target: str) -> str:
    with pytest.raises(InputError) as caught:
        isometry.export(space, target)
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)
    return str(caught.value)


def test_only_new_files_are_written_and_readers_stay_at_their_state(
    few: tuple[Path, Path], bucket: S3FileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, docs = few
    target = "s3://shelf/a/b c"
    first = isometry.export(space, target)
    opened = Space.open(space)
    old = opened.at(target)
    assert alike(old, opened)
    assert isinstance(old.passages, ChunkIndex)
    assert first["documents"] == old.passages.documents
    former = manifest_of(bucket, "shelf/a/b c")
    again = isometry.export(space, target)
    assert (again["files"], again["bytes"]) == (0, 0)

    change(docs)
    isometry.add(space, docs, name="docs")
    second = isometry.export(space, target)
    assert second["bytes"] > 0
    new = old.refresh()
    assert same(new, Space.open(space))
    assert hits(new, "lexical") != hits(old, "lexical")
    # What was opened before still finds what it found, also what it has not read yet.
    assert same(old, opened)
    for there, here in ((old, opened), (new, Space.open(space))):
        for mode in ("dense", "lexical"):
            found, expected = (
                [(hit.document, hit.score) for hit in one.search("heap", 9, mode, filter=FILTER)]
                for one in (there, here)
            )
            assert found == expected != []
            assert {"heapq.merge", "heapq.heappush"}.isdisjoint(name for name, _ in found)
    # Plain Lance reads the same table.
    manifest = manifest_of(bucket, "shelf/a/b c")
    assert any("/data/" in name for name in former["files"].keys() & manifest["files"].keys())
    assert second["files"] == len(manifest["files"].keys() - former["files"].keys())
    table = lancedb.connect(
        f"{target}/{manifest['index']}", storage_options={"allow_http": "true"}
    ).open_table("chunks")
    assert (table.version, table.count_rows()) == (manifest["version"], new.index.chunks)

    isometry.compact(space, keep_hours=0)
    monkeypatch.setattr(module, "KEEP_HOURS", -1)
    isometry.export(space, target)
    manifest = manifest_of(bucket, "shelf/a/b c")
    there = listed(bucket, "shelf/a/b c")
    names = {f"shelf/a/b c/{name}" for name in [*manifest["files"], "export.json"]}
    assert there.keys() == names
    current = Space.open(space)
    assert there[f"shelf/a/b c/{manifest['documents']}"] == current.documents.stat().st_size
    assert same(current.at(target), current)


def test_nothing_is_seen_of_an_export_that_was_not_finished(
    few: tuple[Path, Path], bucket: S3FileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, docs = few
    target = "s3://shelf/unfinished"
    isometry.export(space, target)
    opened = Space.open(space)
    before = hits(opened.at(target), "lexical")
    change(docs)
    isometry.add(space, docs, name="docs")
    with monkeypatch.context() as patch:
        patch.setattr(Storage, "write_manifest", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            isometry.export(space, target)
    assert hits(opened.at(target), "lexical") == before
    assert isometry.export(space, target)["files"] > 0
    assert same(opened.at(target), Space.open(space))


def test_another_space_or_encoder_is_refused_or_gets_a_folder_of_its_own(
    few: tuple[Path, Path], bucket: S3FileSystem
) -> None:
    space, docs = few
    target = "s3://shelf/other"
    isometry.export(space, target)
    opened = Space.open(space)
    old = opened.at(target)
    manifest = opened.manifest
    write_json(space / "space.json", {**manifest, "created": "2001-01-01T00:00:00Z"})
    assert "another Space" in complaint(space, target)
    encoder = {**manifest["encoder"], "fingerprint": "f" * 64}
    write_json(space / "space.json", {**manifest, "encoder": encoder})
    assert "another encoder" in complaint(space, target)
    with pytest.raises(InputError, match="another encoder"):
        Space.open(space).at(target)
    write_json(space / "space.json", manifest)

    # A copy that went its own way has files of the same names with other content.
    other = Path(shutil.copytree(space, space.parent / "copy"))
    change(docs)
    isometry.add(space, docs, name="docs")
    isometry.export(space, target)
    between = Space.open(space).at(target)
    (docs / "parcels.py").write_text('"""Another parcel."""\n')
    isometry.add(other, docs, name="docs")
    isometry.export(other, target)
    assert same(Space.open(other).at(target), Space.open(other))
    assert same(between, Space.open(space))
    assert same(old, opened)
    replaced = isometry.export(space, target, replace=True)
    assert replaced["replaced"]
    assert same(Space.open(space).at(target), Space.open(space))


def test_many_vectors_are_compared_by_lance_or_in_a_graph_in_memory(
    few: tuple[Path, Path], bucket: S3FileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    from isometry.search import view

    space, _ = few
    target = "s3://shelf/many"
    isometry.export(space, target)
    opened = Space.open(space)
    vectors = opened.encode(QUERIES)
    expected = [opened.index.rank_dense(vector, 10) for vector in vectors]
    monkeypatch.setattr(view, "_COMPARED", 0)
    there = opened.at(target).passages
    assert isinstance(there, ChunkIndex)
    assert there.view is None
    for prepared in (False, True):
        if prepared:
            there.prepare_view()
            assert there.view is not None
        for vector, (numbers, scores) in zip(vectors, expected, strict=True):
            found = there.rank_dense(vector, 10)
            assert set(found[0]) == set(numbers)
            np.testing.assert_allclose(found[1], scores, atol=1e-6)


def test_what_cannot_be_reached_is_one_clear_line(
    tiny_space: Path, bucket: S3FileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "is to be of the form s3://BUCKET/PREFIX" in complaint(tiny_space, "s3://shelf//a")
    assert "form" in complaint(tiny_space, "s3://key:s3cret@shelf/a")
    assert "NO_SUCH_BUCKET" in complaint(tiny_space, "s3://no-such-bucket/a")
    with pytest.raises(InputError, match="No Space was exported to s3://shelf/nothing"):
        Space.open(tiny_space).at("s3://shelf/nothing")
    with bucket.open_output_stream("shelf/foreign/export.json") as file:
        file.write(b"[1]")
    assert "no manifest of an export" in complaint(tiny_space, "s3://shelf/foreign")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert "Could not connect to server" in complaint(tiny_space, "s3://shelf/never")
    assert listed(bucket, "shelf/never") == {} == listed(bucket, "shelf/foreign/index-1")


def test_from_the_command_line(
    tiny_space: Path, bucket: S3FileSystem, capsys: pytest.CaptureFixture[str]
) -> None:
    target = "s3://shelf/command"
    assert main(["export", str(tiny_space), target, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["bytes"] == sum(
        size for name, size in listed(bucket, "shelf/command").items() if "export.json" not in name
    )
    assert main(["export", str(tiny_space), target]) == 0
    assert "0 files written" in capsys.readouterr().out
    search = ["search", str(tiny_space), QUERIES[0], "--json", "--quiet"]
    assert main([*search, "--at", target]) == 0
    there = json.loads(capsys.readouterr().out)
    assert main(search) == 0
    assert there == json.loads(capsys.readouterr().out)


def test_files_that_are_gone_already_keep_no_others(bucket: S3FileSystem, tmp_path: Path) -> None:
    storage = Storage.open("s3://shelf/removed")
    (tmp_path / "file").write_bytes(b"x")
    for name in ("a/there", "last", "kept"):
        storage.upload(tmp_path / "file", name)
    storage.remove(["gone", "a/gone", "a/there", "last"])
    assert listed(bucket, "shelf/removed").keys() == {"shelf/removed/kept"}


def test_a_manifest_of_something_else_is_none(bucket: S3FileSystem) -> None:
    storage = Storage.open("s3://shelf/else")
    assert storage.manifest() is None
    for value in (b'{"format": 1}', b'{"files": {}}', b'"format files"'):
        with bucket.open_output_stream("shelf/else/export.json") as file:
            file.write(value)
        with pytest.raises(InputError, match="no manifest of an export"):
            storage.manifest()
    storage.write_manifest({"format": 1, "files": {"a": "b"}})
    assert storage.manifest() == {"format": 1, "files": {"a": "b"}}


@pytest.mark.parametrize("prefix", ["a%20b", "50%", "b c", "a+b"])
def test_a_table_is_read_under_any_prefix_and_what_is_lost_is_one_line(
    bucket: S3FileSystem, tmp_path: Path, prefix: str
) -> None:
    row = {"document": "a", "title": "", "position": 0, "start": 0, "end": 4, "text": "word",
           "vector": [1.0, 0.0]}  # fmt: skip
    batch = pa.RecordBatch.from_pylist([row], schema=chunk_schema(2))
    index = ChunkIndex.create(tmp_path / "index", iter([batch]), batch.schema, Lexical())
    storage = Storage.open(f"s3://shelf/{prefix}")
    files = [path for path in (tmp_path / "index").rglob("*") if path.is_file()]
    names = [path.relative_to(tmp_path).as_posix() for path in files]
    for name in names:
        storage.upload(tmp_path / name, name)
    table, lost = (storage.table("index", index.version, "documents") for _ in range(2))
    assert [hit.document for hit in table.lexical("word", 3)] == ["a"]
    storage.remove(names)
    with pytest.raises(InputError, match="Cannot read s3://shelf"), lost.snapshot() as held:
        held.lexical("word", 3)
    with pytest.raises(RuntimeError, match="out of memory"), table.snapshot():
        raise RuntimeError("out of memory")
