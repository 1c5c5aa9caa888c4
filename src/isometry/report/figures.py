"""Reads figures out of a Space's manifest and puts them into words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from isometry.encoders.sizes import size_name

METRICS = {
    "ndcg@10": "nDCG@10",
    "recall@1": "Recall@1",
    "recall@10": "Recall@10",
    "recall@100": "Recall@100",
    "mrr@10": "MRR@10",
}
SYSTEMS = {
    "lexical": "Lexical",
    "base": "Base, dense",
    "tuned": "Tuned, dense",
    "base fused": "Base, fused",
    "tuned fused": "Tuned, fused",
}
MODES = {"dense": "dense", "hybrid": "fused"}
PROBES = {"gloss": "Dictionary glosses", "relations": "Word relations"}

# What `size_cells` gives.
SIZE_HEAD = ("Size", "Parameters", "Bytes", "Speed", "Base", "Tuned", "Difference [95 %]")

_CONTROLS = {code: 0x2400 + code for code in range(32) if code not in (9, 10)}
_CONTROLS |= dict.fromkeys((*range(0x7F, 0xA0), *range(0xD800, 0xE000)), 0xFFFD)
_DIRECTIONS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def additions_of(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was added to a Space since its fit and is still in it, the latest last.

    The log has everything that ever was added, and each return to an earlier state: what had been
    added by then counts, and what a return took back comes again with a return from it.
    """
    log: list[dict[str, Any]] = manifest.get("additions") or []
    # By the number of a state, what counted in it. Older versions of Isometry noted none; what
    # they added is in every state that there is.
    by_state = {-1: [entry for entry in log if "state" not in entry]}
    counted: list[dict[str, Any]] = []
    for entry in log:
        if "rollback" in entry:
            # Not every state has an entry: migrating and compacting add nothing.
            counted = by_state[max(number for number in by_state if number <= entry["rollback"])]
        else:
            counted = [*counted, entry]
        if "state" in entry:
            by_state[entry["state"]] = counted
    return counted


def look_up(manifest: Mapping[str, Any], path: str) -> Any:
    """The value at a path of keys and list positions, joined by dots.

    Returns:
        `None` where any part of the path is missing.
    """
    value: Any = manifest
    for part in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def safe_text(text: object) -> str:
    """Text of unknown origin with its control characters made visible and surrogates replaced."""
    return str(text).replace("\r\n", "\n").translate(_CONTROLS)


def safe_code(text: object) -> str:
    """Like `safe_text`, without marks that change the direction of writing."""
    return _DIRECTIONS.sub("", safe_text(text))


def safe_line(text: object) -> str:
    """Like `safe_code`, in one line.

    For places that no element can isolate: a window's title, an attribute, a terminal.
    """
    return " ".join(safe_code(text).split())


def decimal(value: float | None, decimals: int = 1, *, sign: bool = False) -> str:
    """A number for people: grouped thousands, a true minus sign, a dash where there is none."""
    if value is None:
        return "–"
    text = f"{value:+,.{decimals}f}" if sign else f"{value:,.{decimals}f}"
    if not text.strip("+-0.,"):
        text = text.lstrip("+-")
    return text.replace("-", "\u2212")


def points(fraction: float | None, *, sign: bool = False) -> str:
    """A fraction in hundredths, with one decimal."""
    return decimal(None if fraction is None else 100 * fraction, sign=sign)


def change(row: Mapping[str, Any]) -> str:
    """A difference in points, with its interval where there is one: "+3.6 [+2.5, +4.8]"."""
    text = points(row.get("difference"), sign=True)
    ends = [row.get("low"), row.get("high")]
    if row.get("difference") is None or None in ends:
        return text
    low, high = (points(end, sign=True) for end in ends)
    return f"{text} [{low}, {high}]"


def difference_place(manifest: Mapping[str, Any], mode: str) -> int | None:
    """The position of a mode's difference in nDCG@10 among the test's, if it was measured."""
    for place, row in enumerate(look_up(manifest, "figures.test.differences") or []):
        if row.get("mode") == mode and row.get("metric") == "ndcg@10":
            return None if row.get("difference") is None else place
    return None


def certainty(manifest: Mapping[str, Any]) -> str:
    """One sentence on whether the difference in dense retrieval may be chance."""
    place = difference_place(manifest, "dense")
    if place is None:
        return "No difference was measured on the test split."
    row = look_up(manifest, f"figures.test.differences.{place}")
    low, high = row.get("low"), row.get("high")
    if look_up(manifest, "figures.test.groups") == 1:
        return "All queries are of pages that belong together: of others nothing can be said."
    if low is None or high is None:
        return "No interval was computed, so nothing can be said about chance."
    if low > 0:
        return (
            "Other queries of this kind would very likely show a gain too: the whole interval"
            " lies above zero."
        )
    if high < 0:
        return (
            "Other queries of this kind would very likely show a loss too: the whole interval"
            " lies below zero."
        )
    return "The interval contains zero: on these queries the difference may be chance."


def were_given(manifest: Mapping[str, Any]) -> bool:
    """Whether people gave the queries, also where they were too few for a test."""
    return (
        look_up(manifest, "figures.test.kind") == "given"
        or look_up(manifest, "figures.data.pairs.task") == "given queries"
    )


def query_kind(manifest: Mapping[str, Any]) -> str:
    """One sentence on where the test queries come from and what that means for the figures."""
    if look_up(manifest, "figures.test") is None:
        return "No query was asked: there were too few."
    if were_given(manifest):
        return (
            "The queries were given by the user, so the figures say how well this model"
            " answers questions of that kind."
        )
    return (
        "The queries were artificial, made from the documents themselves: compare the figures with"
        " each other, but do not expect the same level from questions that people ask."
    )


def best_rows(rows: Sequence[Mapping[str, Any]]) -> dict[str, set[int]]:
    """For each metric the positions of the rows with its highest value."""
    best: dict[str, set[int]] = {}
    for metric in METRICS:
        values = [row.get(metric) for row in rows]
        top = max((value for value in values if value is not None), default=None)
        best[metric] = {
            place for place, value in enumerate(values) if value is not None and value == top
        }
    return best


def advice(manifest: Mapping[str, Any]) -> list[str]:
    """What a user may do when tuning did not help, most promising first."""
    pairs = look_up(manifest, "figures.data.pairs.train")
    lines: list[str] = []
    if not were_given(manifest):
        lines.append(
            "Give queries with the documents that answer them, if you have any: artificial ones"
            " only resemble what people ask."
        )
    if pairs is not None and pairs < 1000:
        lines.append(f"Give more documents: {pairs:,} training pairs are few.")
    epochs = look_up(manifest, "plan.epochs")
    if epochs is not None and epochs < 1:
        lines.append("Give more minutes: training did not see every pair once.")
    if look_up(manifest, "plan.nested"):
        lines.append("Leave --nested out: the whole model gains more where it is trained alone.")
    lines.append(
        "Use the Space as it is: its index holds the base model's vectors, and fused search"
        " needs no tuning."
    )
    return lines


def size_cells(row: Mapping[str, Any]) -> list[str]:
    """What the report says of one size of a model: its size, what it costs, and how good it is."""
    return [
        size_name((row["layers"], row["dimensions"])),
        f"{row['parameters'] / 1e6:,.1f} M",
        decimal(row["bytes"], 0),
        decimal(row.get("speed")),
        points(row.get("base")),
        points(row.get("tuned")),
        change(row),
    ]


def fit_command(manifest: Mapping[str, Any]) -> str:
    """The shell command of this run, rebuilt from its settings.

    `None` and `False` are left out; `True` becomes a bare flag, a list a repeated one.
    """
    settings: dict[str, Any] = dict(look_up(manifest, "settings") or {})
    source = settings.pop("source", None) or look_up(manifest, "source.name") or "SOURCE"
    words = ["isometry", "fit", *map(str, source if isinstance(source, list) else [source])]
    for name, value in settings.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(flag)
        elif value is not None and value is not False:
            for one in value if isinstance(value, list) else [value]:
                words += [flag, str(one)]
    return " ".join(shlex.quote(safe_code(word)) for word in words)


def flatten(value: Any, path: str) -> list[tuple[str, str, Any]]:
    """The leaves below nested dictionaries as (path, label for people, leaf), in order.

    Lists of plain values are leaves.
    """
    if isinstance(value, list) and any(isinstance(one, Mapping | list) for one in value):
        value = dict(enumerate(value))
    if not isinstance(value, Mapping):
        return [(path, "", value)]
    leaves: list[tuple[str, str, Any]] = []
    for name, child in value.items():
        key = str(name)
        label = key.replace("_", " ")
        for place, below, leaf in flatten(child, f"{path}.{key}"):
            leaves.append((place, f"{label} · {below}" if below else label, leaf))
    return leaves
