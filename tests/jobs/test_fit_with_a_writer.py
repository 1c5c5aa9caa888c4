"""`fit --query-writer`, end to end, with a server on loopback that answers out of the passages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from query_server import Reply, completion, failure, serving

import isometry
from isometry.cli.main import main
from isometry.core.errors import InputError
from isometry.jobs.fit import FitSettings, plan_only


def backwards(prompt: str) -> Reply:
    """The first words of the passage, in the opposite order."""
    words = prompt.split("Passage:\n", 1)[1].split()[:12]
    return completion(" ".join(reversed(words)))


def test_written_queries_are_filtered_trained_on_and_reported(
    tmp_path: Path, few_docs: Path, small_folder: Path, brief_plan: Path
) -> None:
    out = tmp_path / "space"
    with serving(backwards) as server:
        space = isometry.fit(
            few_docs,
            base=small_folder,
            plan=brief_plan,
            out=out,
            query_writer=server.url,
            query_model="writer",
        )
        sent = len(server.prompts)
    written = space.manifest["figures"]["written"]
    splits = space.manifest["figures"]["data"]["splits"]
    # Nothing of validation and test is shown to anybody.
    assert sent == written["asked"] <= splits["train"]
    assert 0 < written["kept"] <= written["written"]
    assert space.manifest["figures"]["batches"]["pairs"] > 0
    assert space.manifest["settings"]["query_writer"] == server.url


def test_a_server_that_fails_leaves_a_fit_without_it(
    tmp_path: Path, few_docs: Path, small_folder: Path, brief_plan: Path
) -> None:
    with serving(lambda _: failure(500)) as server:
        space = isometry.fit(
            few_docs,
            base=small_folder,
            plan=brief_plan,
            out=tmp_path / "space",
            query_writer=server.url,
            query_model="writer",
        )
    figures = space.manifest["figures"]
    assert figures["written"]["answered"] == 0 and figures["written"]["ended"]
    assert figures["training"]["steps_done"] == figures["training"]["steps"]


def test_what_cannot_work_costs_nothing(
    tmp_path: Path, tiny_docs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "space"
    command = ["fit", str(tiny_docs), "--out", str(out), "--query-writer"]
    assert main([*command, "http://127.0.0.1:9/v1"]) == 2
    assert "belong together" in capsys.readouterr().err
    assert main([*command, "http://127.0.0.1:9/v1", "--query-model", "m"]) == 2
    assert "127.0.0.1:9" in capsys.readouterr().err
    assert main([*command, "ftp://somewhere", "--query-model", "m"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_sends_nothing(tiny_docs: Path, small_folder: Path) -> None:
    with serving(backwards) as server:
        plan, _ = plan_only(
            FitSettings(
                str(tiny_docs),
                base=str(small_folder),
                minutes=0.5,
                query_writer=server.url,
                query_model="writer",
            )
        )
        assert server.requests == []
    assert json.dumps(plan.to_json())


def test_a_password_in_a_source_is_in_no_file_and_no_message(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        isometry.fit("postgresql://me:secret@127.0.0.1:9/shop#reviews", out=tmp_path / "space")
    assert "secret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
