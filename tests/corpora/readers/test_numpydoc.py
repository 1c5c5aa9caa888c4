from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from isometry.core.errors import InputError
from isometry.corpora.readers.numpydoc import (
    Described,
    first_paragraph,
    kind_of,
    read_described,
    references,
    returned_type,
    section,
    see_also,
)

DOCSTRING = """svd(a, full=True)

Singular Value Decomposition,
which is the SVD of `a`.

Returns
-------
u : { (..., M, M) } array
    Unitary.
s : float

See Also
--------
scipy.linalg.svd : Similar: in SciPy.
:func:`~numpy.linalg.qr`, eig
    Both of them
    norm : not an entry
svdvals: Values alone.
This is prose, not a name.
.det

Notes
-----
later : not an entry
"""


def test_names_are_read_as_numpydoc_has_them() -> None:
    assert see_also(DOCSTRING) == (
        "scipy.linalg.svd", "numpy.linalg.qr", "eig", "svdvals", "det",
    )  # fmt: skip
    assert see_also("See Also is mentioned here.\n\nNotes\n-----\neig\n") == ()
    assert section(DOCSTRING, "Notes") == ["later : not an entry"]
    assert section("Notes\n-----\n\n", "Notes") == []


def test_the_type_is_behind_the_first_name_or_the_whole_line() -> None:
    assert returned_type(DOCSTRING) == "{ (..., M, M) } array"
    assert returned_type("Returns\n-------\nDataFrame\n    The result.\n") == "DataFrame"
    assert returned_type("No section.") == ""


def test_the_first_paragraph_has_neither_signature_nor_its_own_name() -> None:
    assert first_paragraph(DOCSTRING, "svd") == "Singular Value Decomposition, which is the of `a`."
    assert first_paragraph("Summary of sums: sum\nof all.", "sum") == "Summary of sums: of all."
    assert first_paragraph("Notes\n-----\nNothing.", "f") == ""


def item(name: str, *named: str) -> Described:
    return Described(name, name.rpartition(".")[0], "text", "", named)


def test_references_find_what_a_package_exports_under_other_names() -> None:
    items = [
        item("np._core.fromnumeric.sum", "np.linalg.norm", "cumsum", "scipy.sum", "sum"),
        item("np._core.fromnumeric.cumsum", "sum"),
        item("np.ma.core.sum", "cumsum"),
        item("np.ma.core.MaskedArray.sum", "cumsum"),
        item("np.ma.core.MaskedArray.cumsum", "ma.sum", "MaskedArray.sum"),
        item("np.linalg._linalg.norm", "absent"),
    ]
    assert references(items) == [
        ("np._core.fromnumeric.sum", "np.linalg._linalg.norm"),
        ("np._core.fromnumeric.sum", "np._core.fromnumeric.cumsum"),
        # A bare name is no reference to oneself.
        ("np._core.fromnumeric.sum", "np.ma.core.sum"),
        ("np._core.fromnumeric.cumsum", "np._core.fromnumeric.sum"),
        ("np.ma.core.sum", "np._core.fromnumeric.cumsum"),
        ("np.ma.core.MaskedArray.sum", "np.ma.core.MaskedArray.cumsum"),
        ("np.ma.core.MaskedArray.cumsum", "np.ma.core.sum"),
        ("np.ma.core.MaskedArray.cumsum", "np.ma.core.MaskedArray.sum"),
    ]


def test_kinds_are_what_a_type_names_first() -> None:
    assert kind_of("list of ndarray") == "several" and kind_of("ndarray or scalar") == "array"
    assert kind_of("NetworkX DiGraph") == "graph" and kind_of("Series or DataFrame") == "table"
    assert kind_of("pointer") == "" and kind_of("") == ""


def test_a_real_module_is_read_as_its_own_docstrings_say() -> None:
    found = {each.id: each for each in read_described("numpy.fft")}
    fft = found["numpy.fft._pocketfft.fft"]
    assert np.fft.fft.__doc__ is not None
    assert fft.text == "Compute the one-dimensional discrete Fourier Transform."
    assert fft.returned == "complex ndarray"
    assert fft.see_also[0] == "numpy.fft" and "fft2" in fft.see_also
    edges = references(found.values())
    assert ("numpy.fft._helper.fftshift", "numpy.fft._helper.ifftshift") in edges
    assert not [name for name in found if "._" in name.removeprefix("numpy.fft._")]


def test_nothing_is_imported_and_what_is_not_installed_is_named() -> None:
    code = (
        "import sys; from isometry.corpora.readers.numpydoc import read_described\n"
        "assert read_described('networkx.algorithms.flow')\n"
        "assert 'networkx' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(InputError, match="not installed"):
        read_described("no_such_package")
