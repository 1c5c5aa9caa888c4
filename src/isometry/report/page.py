"""The report: one HTML page that needs nothing beside itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, Template
from markupsafe import Markup

from isometry.encoders.sizes import size_names
from isometry.report import figures
from isometry.report.figures import METRICS, MODES, PROBES, SYSTEMS, look_up
from isometry.report.plots import Interval, Series, interval_plot, line_plot

SKIPPED_SHOWN = 50


def render_report(manifest: Mapping[str, Any]) -> str:
    """The report of a Space as a whole HTML page: no scripts, no requests.

    Every figure stands in an element with `data-figure`, its path in the manifest, and
    `data-value`, the unrounded value.

    Args:
        manifest: What stands in `space.json`; parts that are `null` or missing are left out.
    """
    quoted = Quotations(manifest)
    return _template().render(
        get=lambda path: look_up(manifest, path),
        points=quoted.points,
        number=quoted.number,
        leaf=quoted.leaf,
        change=quoted.change,
        leaves=lambda path: figures.flatten(look_up(manifest, path) or {}, path),
        nested=size_names(look_up(manifest, "plan.nested") or []),
        difference={mode: figures.difference_place(manifest, mode) for mode in MODES},
        best=figures.best_rows(look_up(manifest, "figures.test.rows") or []),
        plots=draw_plots(manifest),
        phases=phases(manifest),
        certainty=figures.certainty(manifest),
        query_kind=figures.query_kind(manifest),
        advice=figures.advice(manifest),
        command=figures.fit_command(manifest),
        metrics=METRICS,
        systems=SYSTEMS,
        modes=MODES,
        probes=PROBES,
        skipped_shown=SKIPPED_SHOWN,
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("isometry.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "outside": outside,
        "line": figures.safe_line,
    }
    return environment.get_template("report.html.jinja")


def outside(text: object) -> Markup:
    """Words that are not ours, isolated so that they change nothing around them."""
    return Markup("<bdi>{}</bdi>").format(figures.safe_text("–" if text is None else text))


class Quotations:
    """Writes figures as HTML that says where in the manifest each of them stands."""

    def __init__(self, manifest: Mapping[str, Any]) -> None:
        self.manifest = manifest

    def points(self, path: str, *, sign: bool = False) -> Markup:
        """A fraction, shown in hundredths."""
        return self._quote(path, lambda value: figures.points(value, sign=sign))

    def number(self, path: str, decimals: int = 0, *, sign: bool = False) -> Markup:
        """A number as it is."""
        return self._quote(path, lambda value: figures.decimal(value, decimals, sign=sign))

    def leaf(self, path: str, value: Any) -> Markup:
        """A value of any kind: a number with as many decimals as it has, or words."""
        if isinstance(value, list) and value:
            places = enumerate(value)
            return Markup(", ").join(self.leaf(f"{path}.{place}", one) for place, one in places)
        if isinstance(value, bool):
            return Markup("yes" if value else "no")
        if not isinstance(value, int | float) or look_up(self.manifest, path) != value:
            return outside(value if value not in (None, "", []) else "none")
        return self._quote(path, lambda number: f"{number:,}".replace("-", "\u2212"))

    def change(self, path: str, before: str, after: str) -> str:
        """A difference of two numbers, which does not stand in the manifest itself."""
        first, second = (look_up(self.manifest, f"{path}.{key}") for key in (before, after))
        if first is None or second is None:
            return figures.decimal(None)
        return figures.decimal(second - first, sign=True)

    def _quote(self, path: str, show: Callable[[Any], str]) -> Markup:
        value = look_up(self.manifest, path)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return Markup('<span class="none">–<span class="unseen"> not measured</span></span>')
        return Markup('<span class="figure" data-figure="{}" data-value="{}">{}</span>').format(
            figures.safe_line(path), repr(value), show(value)
        )


def phases(manifest: Mapping[str, Any]) -> list[str]:
    """The names of the steps that were planned or measured, in the order of the run."""
    measured = look_up(manifest, "figures.seconds") or {}
    return list(dict.fromkeys([*measured, *(look_up(manifest, "plan.estimate_seconds") or {})]))


def draw_plots(manifest: Mapping[str, Any]) -> dict[str, Markup]:
    """The plots by name; an empty one where there is nothing to draw."""
    drawn = {
        "differences": _differences(manifest),
        "curve": _curve(manifest),
        "fusion": _fusion(manifest),
        "merge": _merge(manifest, "ndcg@10", 100, "nDCG@10, points"),
        "merge_retention": _merge(manifest, "retention", 1, "Retention, points"),
        "loss": _loss(manifest),
    }
    return {name: Markup(text) for name, text in drawn.items()}  # plots escape their words


def _pairs(
    rows: Any, x: str, y: str, *, scale: float = 100, where: str = ""
) -> list[tuple[float, float]]:
    return [
        (float(row[x]), scale * row[y])
        for row in rows or []
        if row.get(y) is not None and (not where or row.get(where))
    ]


def _differences(manifest: Mapping[str, Any]) -> str:
    rows = [
        Interval(
            f"{MODES.get(row['mode'], row['mode'])} {METRICS.get(row['metric'], row['metric'])}",
            *(100 * row[key] for key in ("difference", "low", "high")),
        )
        for row in look_up(manifest, "figures.test.differences") or []
        if None not in (row.get("difference"), row.get("low"), row.get("high"))
    ]
    return interval_plot(
        rows,
        label="Differences between tuned and base with their 95 % intervals, beside zero",
        x_label="Difference, points",
    )


def _curve(manifest: Mapping[str, Any]) -> str:
    rows = sorted(look_up(manifest, "figures.curve") or [], key=lambda row: row["dimensions"])
    return line_plot(
        [
            Series("Tuned", _pairs(rows, "dimensions", "tuned"), accent=True, marker="dot"),
            Series("Base", _pairs(rows, "dimensions", "base")),
        ],
        label="nDCG@10 of base and tuned model over the number of dimensions that are kept",
        x_label="Dimensions",
        y_label="nDCG@10, points",
        log_x=True,
    )


def _fusion(manifest: Mapping[str, Any]) -> str:
    checked = look_up(manifest, "figures.validation") or {}
    usual, weight = checked.get("usual_weight"), look_up(manifest, "search.dense_weight")
    tuned = _pairs(checked.get("tuned_fusion"), "dense_weight", "ndcg@10")
    return line_plot(
        [
            Series("Tuned", tuned, accent=True, marker="dot"),
            Series("Base", _pairs(checked.get("fusion"), "dense_weight", "ndcg@10")),
        ],
        label="nDCG@10 on validation over the weight of dense search in the fusion",
        x_label="Weight of dense search",
        y_label="nDCG@10, points",
        level=None if usual is None else ("Base, usual weight", 100 * usual),
        chosen=None if weight is None else (f"Chosen, {weight:g}", weight),
    )


def _merge(manifest: Mapping[str, Any], key: str, scale: float, name: str) -> str:
    rows = look_up(manifest, "figures.validation.candidates") or []
    chosen = next((row["alpha"] for row in rows if row.get("chosen")), None)
    refused = [{**row, "refused": not row.get("allowed")} for row in rows]
    return line_plot(
        [
            Series("", _pairs(rows, "alpha", key, scale=scale), True, "none"),
            Series(
                "Allowed",
                _pairs(rows, "alpha", key, scale=scale, where="allowed"),
                True,
                "dot",
                False,
            ),
            Series(
                "Forgets too much",
                _pairs(refused, "alpha", key, scale=scale, where="refused"),
                marker="cross",
                line=False,
            ),
        ],
        label=f"{name}, on validation, along the line from the base to the tuned model",
        x_label="Share of the way from base to tuned",
        y_label=name,
        chosen=None if chosen is None else (f"Chosen, {chosen:g}", chosen),
    )


def _loss(manifest: Mapping[str, Any]) -> str:
    rows = look_up(manifest, "figures.training.loss") or []
    return line_plot(
        [Series("", [(step, loss) for step, loss in rows], accent=True, marker="none")],
        label="Training loss over steps",
        x_label="Step",
        y_label="Loss",
    )
