"""The Debian Administrator's Handbook: prose about computers, in English.

Source: `usr/share/doc/debian-handbook/html/en-US` of Debian's package debian-handbook 11.20220922
(GPL-2.0-or-later or CC-BY-SA-3.0; Copyright Raphaël Hertzog, Roland Mas, Freexian SARL).
"""

from __future__ import annotations

from isometry.core.errors import InputError
from isometry.corpora.documents import Document
from isometry.corpora.packaged.locate import find_data
from isometry.corpora.readers import ReadingReport, open_source

_ENGLISH = "usr/share/doc/debian-handbook/html/en-US"


def debian_handbook() -> list[Document]:
    """Its sections, page by page.

    Raises:
        InputError: When the data is not on this machine.
    """
    folder = find_data("debian-handbook") / _ENGLISH
    if not folder.is_dir():
        raise InputError(
            f"The package 'debian-handbook' has no English pages: there is no {folder}.",
            "Fetch it with: python scripts/fetch_data.py debian-handbook",
        )
    return list(open_source(folder).documents(ReadingReport()))
