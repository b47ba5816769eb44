"""A model that does not load here, though it loaded elsewhere, is this machine's trouble and not the job's."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.errors import ModelError
from pipelines.pipeline import Pipeline
from tests.workers.test_jobs import a_spec
from workers.jobs import JobSpec, Shard
from workers.shard import Kind, attempt_shard
from workers.store import JobStore


def damaged(spec: JobSpec) -> Pipeline:
    raise ModelError(f"model {spec.model} can't be read")


@pytest.fixture
def shard(store: JobStore, tmp_path: Path) -> Shard:
    spec = a_spec(root=str(tmp_path), output=str(tmp_path / "out"), patience_seconds=60.0)
    store.create(spec.job)
    shard = Shard(spec=spec, number=0, images=("0.jpg",))
    store.open(spec.job, shard.key, shard.model_dump_json())
    return shard


def how_it_went(shard: Shard, store: JobStore) -> list[Kind]:
    told: list[Kind] = []
    attempt_shard(
        shard, store, damaged, threads=1, lease_seconds=30.0, roots=(Path("/"),), went=lambda kind, _: told.append(kind)
    )
    return told


def test_a_model_that_loaded_elsewhere_holds_the_shard_up(store: JobStore, shard: Shard) -> None:
    store.note_provider(shard.spec.job, "CPUExecutionProvider")
    went = how_it_went(shard, store)

    assert went == ["held up"]
    assert store.progress(shard.spec.job).state == "running"


def test_a_model_that_loaded_nowhere_fails_the_job(store: JobStore, shard: Shard) -> None:
    went = how_it_went(shard, store)

    assert went == ["failed"]
    assert store.progress(shard.spec.job).state == "failed"


def test_a_model_that_loads_nowhere_any_more_fails_the_job_after_a_few_tries(store: JobStore, shard: Shard) -> None:
    store.note_provider(shard.spec.job, "CPUExecutionProvider")
    went = [kind for _ in range(5) for kind in how_it_went(shard, store)]

    assert went == ["held up"] * 4 + ["failed"]
    assert store.progress(shard.spec.job).state == "failed"
