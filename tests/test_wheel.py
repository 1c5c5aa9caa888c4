"""What is installed from a wheel is all of the package, and nothing else."""

from __future__ import annotations

from email import message_from_bytes
from pathlib import Path
from zipfile import ZipFile

from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[1]


def test_a_wheel_has_every_file_of_the_package_and_its_command(tmp_path: Path) -> None:
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    source = ROOT / "src"
    files = {file for file in source.rglob("*") if file.is_file()}
    expected = {
        file.relative_to(source).as_posix() for file in files if file.parent.name != "__pycache__"
    }
    with ZipFile(wheel) as archive:
        names = archive.namelist()
        (info,) = {name.split("/")[0] for name in names if ".dist-info/" in name}
        assert {name for name in names if not name.startswith(info)} == expected
        assert b"isometry = isometry.cli.main:run" in archive.read(f"{info}/entry_points.txt")
        described = message_from_bytes(archive.read(f"{info}/METADATA"))
        assert any(name.endswith("LICENSE-WordNet.txt") and info in name for name in names)
    assert described["Name"] == "isometry-embeddings" and "isometry fit" in described.get_payload()
