from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tuned_folders import with_dense

from isometry.core.errors import InputError
from isometry.encoders.sizes import check_sizes, read_size, read_sizes, size_name, size_names
from isometry.encoders.surgery.layers import truncate
from isometry.encoders.text import TextEncoder


def test_sizes_are_layers_and_dimensions() -> None:
    assert read_size("2x96") == (2, 96)
    assert read_size(" 10X256 ") == (10, 256)
    assert read_sizes("2x96,4x192") == read_sizes(" 2x96 , 4X192") == ((2, 96), (4, 192))
    assert read_sizes("1x2") == ((1, 2),)
    assert size_name((2, 96)) == "2x96"
    assert size_names([(2, 96), [4, 192]]) == "2x96, 4x192"
    assert size_names([]) == ""


@pytest.mark.parametrize(
    "text",
    ["", "2", "x", "2x", "x96", "2x96x3", "2*96", "-2x96", "2x-96", "2.5x96", "0x96", "2x0", "two",
     "2x96,", ",2x96", "2x96;4x192", "2x9999999", "9" * 5000 + "x2", "2x\n96", "²x96"],
)  # fmt: skip
def test_what_is_no_size_is_one_line(text: str) -> None:
    with pytest.raises(InputError, match=r"--nested: .* is no size") as caught:
        read_sizes(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 120


@pytest.mark.parametrize("text", ["2x96,2x192", "2x96,4x96", "4x192,2x96", "2x96,2x96", "1x1"])
def test_sizes_rise_in_both(text: str) -> None:
    """One coordinate is refused too: distillation needs a distribution."""
    with pytest.raises(InputError, match="do not nest"):
        read_sizes(text)


def test_a_size_is_smaller_than_the_whole_in_both(tiny: TextEncoder) -> None:
    check_sizes([(1, 31)], tiny)
    for size in ((1, 32), (2, 16), (2, 32), (3, 16), (1, 64)):
        with pytest.raises(InputError, match=rf"is 2x32, so {size_name(size)} cannot"):
            check_sizes([size], tiny)


def test_layers_without_vectors_have_no_sizes(tiny: TextEncoder) -> None:
    check_sizes([(1, 4)], truncate(tiny, 2, 8))
    tiny.model.truncate_dim = 16
    with pytest.raises(InputError, match="truncate_dim"):
        check_sizes([(1, 8)], tiny)


def test_a_folder_with_a_dense_module_has_no_sizes(tiny_folder: Path, tmp_path: Path) -> None:
    folder = with_dense(Path(shutil.copytree(tiny_folder, tmp_path / "model")))
    with pytest.raises(InputError, match="inner layers have no vectors"):
        check_sizes([(1, 4)], TextEncoder.load(folder))
