"""The gallery of systems as Markdown: what each claims, and what was measured of it here."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from isometry.report.markdown import prose, table, words
from isometry.report.picture_file import picture_file
from isometry.report.plots import Interval, interval_plot
from isometry.report.reproduction import arm_rows, gate_line, gates_held, number, outcome

_STATES = {"passed": "holds", "failed": "fails", "stale": "stale", "not run": "not run yet"}
# So many letters of a metric fit beside the plot.
_NAME = 24

Described = Mapping[str, Any]


def render_index(systems: Sequence[tuple[Described, Mapping[str, Any] | None]]) -> str:
    """The page that lists all systems.

    Args:
        systems: Each as `render_page` takes it.
    """
    rows = [
        [
            f"[{words(system['slug'])}]({system['slug']}.md)",
            words(system["family"]),
            words(system["claim"]),
            _result(system, record),
            "" if record is None else _day(record),
        ]
        for system, record in systems
    ]
    parts = [
        "# Systems",
        "Written by `make gallery` out of `src/isometry/systems` and the records in `results`; do"
        " not edit it.",
        "A system is the method of a paper, set against what it has to beat: all arms get the same"
        " data and seeds, those that are compared the same steps, and what must hold was written"
        " down before the method first ran. Results are of the small scale, which runs on two"
        " processor cores; each page says how long that took. Where a gate fails, that is the"
        " result. A result is stale when the code that it was measured with has changed since. How"
        " to run one, and how to read what comes out: [Methods of papers](../methods.md).",
        table(["System", "Family", "Claim", "Result", "Date"], rows, align="left"),
    ]
    return "\n\n".join(parts) + "\n"


def render_page(system: Described, record: Mapping[str, Any] | None) -> str:
    """The page of one system.

    Args:
        system: Its `slug`, `family`, `file`, `title`, `arxiv`, `claim`, `about`, `differs`, `parts`
            (each with `name` and `file`) and `state`; files are relative to the package.
        record: What `reproduce` left at the small scale; None when it was not run.
    """
    parts = [_introduction(system, record), _parts(system)]
    if record is not None:
        parts += [_arms(record), _figures(record), _gates(system, record)]
    parts.append(f"## What differs from the paper\n\n{prose(system['differs']) or 'Nothing.'}")
    if record is not None:
        parts += [_settings(record), _cost(record)]
    parts.append(_command(system, record))
    return "\n\n".join(parts) + "\n"


def draw_gains(record: Mapping[str, Any]) -> str:
    """The gain of each gate with its interval, numbered as on the page, as an SVG file.

    In hundredths where all metrics are shares, otherwise in their own units.

    Returns:
        The SVG; an empty string when no gate compares two arms.
    """
    rows = [
        (f"{place}. {_shortened(gate['metric'])}", [gate[key] for key in ("gain", "low", "high")])
        for place, gate in enumerate(record["gates"], start=1)
        if gate["gain"] is not None
    ]
    shares = all(abs(value) <= 1 for _, values in rows for value in values)
    scale, unit = (100, "hundredths") if shares else (1, "the unit of the metric")
    return picture_file(
        interval_plot(
            [Interval(name, *(scale * value for value in values)) for name, values in rows],
            label=f"{record['slug']}: the gain of each gate with its 95 % interval, beside zero",
            x_label=f"gain in {unit}",
        )
    )


def _introduction(system: Described, record: Mapping[str, Any] | None) -> str:
    facts = [f"Family: {words(system['family'])}", f"[source]({_link(system['file'])})"]
    # Anything else would be no number of a paper there.
    if re.fullmatch(r"\d{4}\.\d{4,5}(v\d+)?", system["arxiv"]):
        paper = system["arxiv"]
        facts.insert(0, f"[arXiv {paper}](https://arxiv.org/abs/{paper})")
    result = _result(system, record)
    if record is not None and system["state"] == "stale":
        result += ": the code has changed since these figures were measured"
    return "\n\n".join(
        [
            f"# {words(system['title'])}",
            " · ".join(facts),
            f"**Claim:** {words(system['claim'])}",
            f"**Result:** {result}.",
            prose(system["about"]),
        ]
    )


def _result(system: Described, record: Mapping[str, Any] | None) -> str:
    """What came out, in a phrase; the figures of other code are not this system's."""
    state = system["state"]
    word = _STATES.get(state, words(state))
    if record is None or state not in ("passed", "failed"):
        return word
    headline = record["gates"][0]
    gain, low, high = (number(headline[key], sign=True) for key in ("gain", "low", "high"))
    return (
        f"{word}: {gates_held(record)}; {words(headline['metric'])}"
        f" {words(f'{gain} [{low}, {high}]')}"
    )


def _parts(system: Described) -> str:
    files: dict[str, list[str]] = {}
    for part in system["parts"]:
        files.setdefault(part["file"], []).append(f"`{part['name']}`")
    lines = [
        f"- [{words(file)}]({_link(file)}): {', '.join(names)}" for file, names in files.items()
    ]
    return "## Parts\n\n" + ("\n".join(lines) or "None of its own.")


def _arms(record: Mapping[str, Any]) -> str:
    roles = {record["baseline"]: ", the baseline", record["method"]: ", the method"}
    rows: list[list[str]] = []
    for name, arm in record["arms"].items():
        stages = arm["runs"][0]["steps"]
        rows.append(
            [
                words(name) + roles.get(name, ""),
                words(arm["about"]),
                "–" if arm["rate"] is None else f"{arm['rate']:g}",
                words(", ".join(f"{stage} {steps:,}" for stage, steps in stages.items()) or "–"),
            ]
        )
    return "## Arms\n\n" + table(
        ["Arm", "What it does", "Learning rate", "Steps"], rows, align="left"
    )


def _figures(record: Mapping[str, Any]) -> str:
    metrics, rows = arm_rows(record)
    cells = [["Arm", *metrics], *rows]
    if len(metrics) > len(rows):
        cells = [list(column) for column in zip(*cells, strict=True)]
        cells[0][0] = "Figure"
    head, *body = [[words(cell) for cell in row] for row in cells]
    seeds = len(next(iter(record["arms"].values()))["runs"])
    parts = [
        "## Figures",
        f"On the test split, the mean of {seeds} {'seed' if seeds == 1 else 'seeds'}"
        + (" ± their standard deviation." if seeds > 1 else "."),
        table(head, body),
    ]
    if trade := record["trade"]:
        cost, score = map(words, trade)
        parts.append(f"![{score} against {cost}]({record['slug']}-front.svg)")
    return "\n\n".join(parts)


def _gates(system: Described, record: Mapping[str, Any]) -> str:
    lines: list[str] = []
    for place, gate in enumerate(record["gates"], start=1):
        line = f"{place}. **{outcome(gate)}**: {words(gate_line(gate))}"
        if gate["reported"]:
            line += f"<br>The paper: {words(gate['reported'])}"
        lines.append(line)
    parts = [
        "## Gates",
        "What must hold. A gain stands with its 95 % interval over seeds and items.",
    ]
    if any(gate["gain"] is not None for gate in record["gates"]):
        parts.append(f"![The gain of each gate with its interval]({system['slug']}.svg)")
    return "\n\n".join([*parts, "\n".join(lines)])


def _settings(record: Mapping[str, Any]) -> str:
    rows = [
        [words(name), words(value if isinstance(value, str) else json.dumps(value))]
        for name, value in record["settings"].items()
    ]
    return "## Settings\n\n" + table(["Setting", "Value"], rows, align="left")


def _cost(record: Mapping[str, Any]) -> str:
    machine = record["machine"]
    memory = "" if machine["memory_gib"] is None else f" and {machine['memory_gib']:g} GiB"
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    threads = "one thread" if machine["threads"] == 1 else f"{machine['threads']} threads"
    # Of older records it is not known.
    processes = machine.get("processes", 1)
    together = "" if processes == 1 else f", shared by {processes} processes of {threads} each"
    return (
        f"## Cost\n\n{record['seconds']:,.0f} seconds for all arms and seeds{together}, with"
        f" {record['cpu_seconds']:,.0f} of processor time{'' if together else f' in {threads}'}, on"
        f" {_day(record)}, on"
        f" {machine['cores']} cores ({words(machine['processor'])}){memory}, with"
        f" {words(versions)}."
    )


def _command(system: Described, record: Mapping[str, Any] | None) -> str:
    command = f"isometry reproduce {system['slug']}"
    if record is None:
        return f"## Run it\n\n```bash\n{command}\n```"
    command += f" --scale {record['scale']} --seeds {record['settings']['seeds']}"
    file = f"results/{system['slug']}/{record['scale']}.json"
    source = f"Everything above is from [{words(file)}](../../{file})"
    if system["state"] == "stale":
        source += (
            ", measured with other code. Without `--results` the command replaces that record."
        )
    else:
        source += ", which the command without `--results` shows."
    return f"## Run it again\n\n```bash\n{command} --results again\n```\n\n{source}"


def _day(record: Mapping[str, Any]) -> str:
    return words(record["created"][:10])


def _link(file: str) -> str:
    """From the page of a system to a file of the package."""
    return f"../../src/isometry/{file}"


def _shortened(metric: str) -> str:
    return metric if len(metric) <= _NAME else metric[: _NAME - 1].rstrip() + "…"
