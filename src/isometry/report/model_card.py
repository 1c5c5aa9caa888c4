"""The README of a trained model, as the model hub understands it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isometry.encoders.packaged_models import MODELS, PREFIX
from isometry.encoders.sizes import size_names
from isometry.report import figures
from isometry.report.figures import METRICS, MODES, PROBES, SYSTEMS, look_up, points
from isometry.report.markdown import table, words

_TAGS = ("sentence-transformers", "sentence-similarity", "feature-extraction", "isometry")


def render_model_card(manifest: Mapping[str, Any]) -> str:
    """The model card: YAML front matter and Markdown, with figures of this run only.

    Args:
        manifest: What stands in `space.json`; parts that are `null` or missing are left out.
    """
    parts = [
        _front_matter(manifest),
        _introduction(manifest),
        _usage(manifest),
        _evaluation(manifest),
        _sizes(manifest),
        _retention(manifest),
        _training(manifest),
        _limitations(manifest),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(manifest: Mapping[str, Any]) -> str:
    lines = ["---", "library_name: sentence-transformers", "pipeline_tag: sentence-similarity"]
    lines += ["tags:", *(f"- {tag}" for tag in _TAGS)]
    hub_id, licence = _published_base(str(look_up(manifest, "encoder.base") or ""))
    if hub_id:
        lines.append(f"base_model: {json.dumps(hub_id)}")
    if licence:
        lines.append(f"license: {licence}")
    return "\n".join([*lines, "---"])


def _published_base(base: str) -> tuple[str, str]:
    """The hub id of the base model and its licence, each empty where nobody knows."""
    for model in MODELS:
        if base == PREFIX + model.name:
            return model.true_name, model.licence
    # A folder that was given by a relative path looks like a hub id.
    is_hub_id = re.fullmatch(r"\w[\w.-]*/[\w.-]+", base) and not Path(base).is_dir()
    return (base if is_hub_id else ""), ""


def _introduction(manifest: Mapping[str, Any]) -> str:
    base = str(look_up(manifest, "encoder.base") or "the base model")
    base = _published_base(base)[0] or ("a local model" if "/" in base or "\\" in base else base)
    source = words(look_up(manifest, "source.name") or "its documents")
    dim, limit = look_up(manifest, "encoder.dim"), look_up(manifest, "encoder.max_tokens")
    sizes = (
        f" It maps texts of up to {limit:,} tokens to {dim:,} dimensions." if dim and limit else ""
    )
    if look_up(manifest, "figures.verdict.kept") == "base":
        what = f"This is {words(base)}, unchanged: " + (
            f"no model tuned to {source} was both surely better on validation and kept what it"
            " knew."
            if look_up(manifest, "figures.training")
            else f"nothing was trained on {source}, which gave too few pairs."
        )
    else:
        what = (
            f"A text embedding model for search in {source}, tuned from {words(base)} by Isometry"
            f" on {_pairs(manifest)}."
        )
    headline = words(look_up(manifest, "figures.verdict.headline") or "")
    title = f"# Embeddings for {source}"
    use = (
        "**Intended use:** semantic search, clustering and deduplication of these documents and"
        " of documents like them."
    )
    return "\n\n".join(part for part in (title, what + sizes, headline, use) if part)


def _pairs(manifest: Mapping[str, Any]) -> str:
    """What it was trained on, in words."""
    made = "pairs made from the documents themselves"
    if figures.were_given(manifest):
        made = f"queries that people gave and on {made}"
    if (look_up(manifest, "figures.written.kept") or 0) > 0:
        made = f"{made} and queries that a language model wrote to them"
    return made


def _usage(manifest: Mapping[str, Any]) -> str:
    prompts = [
        f"- {kind}: `{json.dumps(figures.safe_code(text).replace('`', ' '), ensure_ascii=False)}`"
        for kind in ("query", "document")
        if (text := look_up(manifest, f"encoder.{kind}_prompt"))
    ]
    dims = look_up(manifest, "plan.dims") or []
    smaller = ", ".join(map(str, dims[1:]))
    lines = [
        "## Usage",
        "```python\nfrom sentence_transformers import SentenceTransformer\n\n"
        'model = SentenceTransformer("path/to/this/folder")\n'
        'queries = model.encode_query(["what you want to find"])\n'
        'documents = model.encode_document(["one text", "another text"])\n'
        "print(model.similarity(queries, documents))\n```",
    ]
    if prompts:
        lines.append(
            "`encode_query` and `encode_document` put the prompts that the model expects before"
            " the texts:\n\n" + "\n".join(prompts)
        )
    if smaller and look_up(manifest, "figures.verdict.kept") != "base":
        lines.append(
            f"The first {smaller} dimensions were trained to stand alone:"
            f' `SentenceTransformer("path/to/this/folder", truncate_dim={dims[-1]})`.'
        )
    return "\n\n".join(lines)


def _evaluation(manifest: Mapping[str, Any]) -> str:
    rows = look_up(manifest, "figures.test.rows") or []
    differences = look_up(manifest, "figures.test.differences") or []
    if look_up(manifest, "figures.verdict.kept") == "base":  # this model is the base
        rows = [row for row in rows if not str(row["system"]).startswith("tuned")]
        differences = []
    if not rows:
        return ""
    queries, documents = (
        look_up(manifest, f"figures.test.{key}") for key in ("queries", "documents")
    )
    whole = look_up(manifest, "figures.data.documents") or 0
    sampled = f" (a sample of {whole:,})" if (documents or 0) < whole else ""
    parts = [
        "## Evaluation",
        f"Held-out test split: {figures.decimal(queries, 0)} queries over"
        f" {figures.decimal(documents, 0)} documents{sampled}, in points (hundredths). Fused search"
        f" adds lexical search by standard scores. {figures.query_kind(manifest)}",
        table(
            ["System", *METRICS.values()],
            [
                [
                    SYSTEMS.get(row["system"], words(row["system"])),
                    *(points(row.get(metric)) for metric in METRICS),
                ]
                for row in rows
            ],
        ),
    ]
    intervals = [
        [
            f"{METRICS.get(row['metric'], words(row['metric']))},"
            f" {MODES.get(row['mode'], words(row['mode']))}",
            points(row["difference"], sign=True),
            _ends(row),
        ]
        for row in differences
        if row.get("difference") is not None
    ]
    if intervals:
        drawn = any(row.get("low") is not None for row in differences)
        ends = ", with bootstrap intervals over queries and pages" if drawn else ""
        parts.append(f"Tuned minus base on the same queries{ends}:")
        parts.append(table(["Metric and search", "Difference", "95 % interval"], intervals))
        parts.append(figures.certainty(manifest))
    return "\n\n".join(parts)


def _ends(row: Mapping[str, Any]) -> str:
    if row.get("low") is None:
        return "–"
    return f"{points(row['low'], sign=True)} to {points(row['high'], sign=True)}"


def _sizes(manifest: Mapping[str, Any]) -> str:
    rows = look_up(manifest, "figures.sizes") or []
    if not rows or look_up(manifest, "figures.verdict.kept") == "base":
        return ""
    cells = [figures.size_cells(row) for row in rows]
    return (
        "## Smaller sizes\n\nThe first layers and dimensions were trained to be models of their"
        " own. This makes one of them:\n\n```bash\n"
        f"isometry cut path/to/this/folder --size {cells[0][0]} --out smaller\n```\n\n"
        "Bytes are those of a vector; speed is that of encoding, as a multiple of the whole model's"
        " in the last row; nDCG@10 on the same queries, in points, beside the base model cut to the"
        " same size:\n\n" + table(figures.SIZE_HEAD, cells)
    )


def _retention(manifest: Mapping[str, Any]) -> str:
    rows = [
        [
            PROBES.get(name, words(name)),
            figures.decimal(row.get("base")),
            figures.decimal(row.get("kept")),
            words(row.get("use") or "–"),
        ]
        for name, row in (look_up(manifest, "figures.retention") or {}).items()
        if row
    ]
    if not rows:
        return ""
    return (
        "## What the base model knew\n\nProbes of general language, in points, before and after:"
        "\n\n" + table(["Probe", "Base", "This model", "Used for"], rows)
    )


def _training(manifest: Mapping[str, Any]) -> str:
    done = look_up(manifest, "figures.training")
    if not done or look_up(manifest, "figures.verdict.kept") == "base":
        return ""
    dims = ", ".join(map(str, look_up(manifest, "plan.dims") or [])) or "all"
    nested = size_names(look_up(manifest, "plan.nested") or [])
    over = f"the sizes {nested} and the whole" if nested else f"the first {dims} dimensions"
    pairs = look_up(manifest, "figures.data.pairs") or {}
    masked = look_up(manifest, "figures.batches.share")
    alpha = look_up(manifest, "figures.verdict.alpha")
    lines = [
        f"- Objective: InfoNCE over the batch, nested over {over}",
        f"- Pairs: {figures.decimal(pairs.get('train'), 0)} ({words(pairs.get('task', '–'))}),"
        f" {figures.decimal(done.get('pairs_seen'), 0)} seen in training",
        f"- Steps: {figures.decimal(done.get('steps_done'), 0)} of"
        f" {figures.decimal(done.get('steps'), 0)}, batches of"
        f" {figures.decimal(look_up(manifest, 'plan.batch'), 0)}",
        "- Negatives: the other documents of a batch, which are alike"
        + ("" if masked is None else f"; {100 * masked:.1f} % left out as likely answers"),
    ]
    if alpha is not None:
        lines.append(
            f"- Weights: {alpha:g} of the way from the base model to the trained one, which"
            " validation found better than the base"
        )
    return "## Training\n\n" + "\n".join(lines)


def _limitations(manifest: Mapping[str, Any]) -> str:
    limit = look_up(manifest, "encoder.max_tokens")
    lines = [
        f"- {figures.query_kind(manifest)}",
        "- The figures hold for these documents; on other subjects the model may be no better, or"
        " worse, than its base.",
        "- Whatever bias the base model and the documents have, this model has too.",
    ]
    if limit:
        lines.append(f"- Text beyond {limit:,} tokens is not seen; cut long documents up first.")
    return "## Limitations\n\n" + "\n".join(lines)
