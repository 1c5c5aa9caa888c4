from __future__ import annotations

import pytest

from isometry.core.progress import progress_shown, say


def test_what_is_said_is_shown_as_it_is_and_only_where_it_is_wanted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = "Going on with /notes [draft] [/x]/docs :warning:."
    say(text)
    with progress_shown(False):
        say(text)
    assert capsys.readouterr() == ("", "")
    with progress_shown(True):
        say(text)
    assert capsys.readouterr() == ("", f"{text}\n")
