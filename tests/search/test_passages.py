"""What an export says of itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from isometry.core.errors import InputError
from isometry.search.lancedb import Lexical
from isometry.search.object_storage import Storage
from isometry.search.passages import FORMAT, Exported

THERE = Exported("a space", 3, "an encoder", 8, Lexical())


def test_what_was_exported_comes_back_and_a_newer_format_is_refused() -> None:
    value = THERE.to_json()
    assert Exported.from_json({**value, "files": {}}) == THERE
    with pytest.raises(InputError, match=rf"in format {FORMAT + 1}; .* up to {FORMAT}"):
        Exported.from_json({**value, "format": FORMAT + 1})


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"space": "b"}, "holds another Space"),
        ({"encoder": "b"}, "vectors of another encoder"),
        ({"dim": 9}, "vectors of another encoder"),
        ({"lexical": Lexical(stem=False)}, "cut otherwise"),
    ],
)
def test_only_a_later_state_of_the_same_is_brought_up_to_date(
    other: dict[str, Any], message: str
) -> None:
    THERE.check_replaceable(replace(THERE, state=9), "there")
    with pytest.raises(InputError, match=message):
        THERE.check_replaceable(replace(THERE, **other), "there")


@pytest.mark.parametrize("target", ["s3://", "s3://shelf/a?b", "s3://shelf/a#b", "/shelf"])
def test_what_is_no_place_of_a_bucket_is_refused(target: str) -> None:
    with pytest.raises(InputError, match="is to be of the form"):
        Storage.open(target)
