from __future__ import annotations

from pathlib import Path

import pytest

from isometry import InputError
from isometry.serving.settings import (
    TOKEN_VARIABLE,
    Limits,
    Settings,
    check_reachable,
    is_loopback,
    read_token,
)
from isometry.serving.sources import read_sources
from isometry.serving.start import how_to_call

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "0123456789abcdef"


def test_a_token_comes_from_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    assert read_token(None) == ""
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    assert read_token(None) == TOKEN
    (tmp_path / "token").write_text(f"{TOKEN}-of-the-file\n")
    assert read_token(tmp_path / "token") == f"{TOKEN}-of-the-file"


@pytest.mark.parametrize(
    "content", [b"", b"short", b"\xff" * 20, b"two words in a file", "ü".encode() * 20]
)
def test_a_token_that_cannot_serve_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(InputError, match="token"):
        read_token(tmp_path / "token")
    with pytest.raises(InputError, match="token"):
        read_token(tmp_path / "nowhere")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "example.org", ""])
def test_whoever_others_can_reach_needs_a_token(host: str) -> None:
    with pytest.raises(InputError, match="token"):
        check_reachable(Settings(host=host))
    check_reachable(Settings(host=host, token=TOKEN))


def test_loopback_needs_none_and_a_token_is_never_shown() -> None:
    for host in ("127.0.0.1", "127.5.5.5", "::1", "localhost"):
        check_reachable(Settings(host=host))
    assert not is_loopback("localhost.example.org")
    assert TOKEN not in repr(Settings(token=TOKEN))
    lines = how_to_call("http://a:1", ["m"], "m", False, Settings(token=TOKEN))
    assert TOKEN not in str(lines)
    assert "Bearer TOKEN" in str(lines)


def test_the_documented_limits_are_these() -> None:
    table = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    for name, value in vars(Limits()).items():
        assert f"| `{name}` | {value:,} | " in table


def test_names_are_given_or_those_of_folders(
    tiny_space: Path, small_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_space)
    sources = read_sources([".", f"other={small_folder}", "packaged:minilm"])
    assert [(source.name, source.is_space) for source in sources] == [
        (tiny_space.name, True), ("other", False), ("minilm", False),
    ]  # fmt: skip
    with pytest.raises(InputError, match="Two are called 'model'"):
        read_sources([str(small_folder), f"{small_folder}/"])
    with pytest.raises(InputError, match="no model"):
        read_sources(["name=nowhere"])
