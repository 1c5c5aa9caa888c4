"""What a server is asked to serve: Spaces and encoders, each by its name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from isometry.core.errors import InputError
from isometry.encoders.locate import locate
from isometry.encoders.packaged_models import PREFIX
from isometry.space import Space
from isometry.space_files import MANIFEST

_NAMED = re.compile(r"([A-Za-z0-9][\w.-]{0,99})=(.+)", re.DOTALL)


@dataclass(frozen=True)
class Source:
    """What a name stands for.

    Attributes:
        name: What clients call it.
        place: A Space, an encoder's folder, `packaged:NAME`, or a hub id.
        is_space: Whether it can be searched.
        base_of: The Space whose documents are searched by the encoder that its fit began with; none
            where it is their own.
    """

    name: str
    place: str
    is_space: bool
    base_of: str | None = None


def read_sources(arguments: Sequence[str], *, beside_base: bool = False) -> list[Source]:
    """What a user typed, each `NAME=PLACE` or a place that gives the name; opens nothing heavy.

    Args:
        arguments: What was typed.
        beside_base: Whether each Space is also served by its base, as `NAME.base`.

    Raises:
        InputError: When there is no such Space or model, or two have one name.
    """
    sources: list[Source] = []
    for argument in arguments:
        named = None if Path(argument).expanduser().exists() else _NAMED.fullmatch(argument)
        place = named[2] if named else argument
        is_space = (Path(place).expanduser() / MANIFEST).is_file()
        name = named[1] if named else _name_of(place)
        found = [Source(name, place, is_space)]
        if not is_space:
            locate(place)
        else:
            space = Space.open(place)
            if beside_base:
                locate(space.fitted["base"])
                found.append(Source(f"{name}.base", place, True, name))
        for source in found:
            if any(other.name == source.name for other in sources):
                raise InputError(
                    f"Two are called '{source.name}'.", f"Give one another name: OTHER={place}"
                )
            sources.append(source)
    return sources


def _name_of(place: str) -> str:
    folder = Path(place).expanduser()
    return folder.resolve().name if folder.is_dir() else place.removeprefix(PREFIX).split("/")[-1]
