"""Real messages, changed by chance: taken, or put aside with a cause; nothing else, whatever is in them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.card import model_checksum
from pipelines.catalog import SHIPPED
from tests.system.processes import drawn
from tests.workers.message_mutations import TASKS, changed, mutated, payload_of, real_entries
from tests.workers.test_jobs import a_spec
from workers import picture_task, tasks
from workers.app import make_app
from workers.deadletters import DeadLetters
from workers.embedded import EmbeddedBroker
from workers.jobs import Close, JobSpec, Shard
from workers.picture import Picture
from workers.settings import settings
from workers.store import JobStore
from workers.transport import trouble_with

MODEL = SHIPPED / "lenet5.onnx"
SOME = hypothesis_settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck), database=None)
MODELS = {"pixelmill.shard": Shard, "pixelmill.close": Close, "pixelmill.picture": Picture}
RUN = {"pixelmill.shard": tasks.shard, "pixelmill.close": tasks.close, "pixelmill.picture": picture_task.picture}


@pytest.fixture
def spec(tmp_path: Path) -> JobSpec:
    drawn(tmp_path / "photos" / "a.jpg", 1, (28, 28))
    drawn(tmp_path / "photos" / "b.jpg", 2, (28, 28))
    folders = {"root": str(tmp_path / "photos"), "output": str(tmp_path / "out")}
    model = {"model": str(MODEL), "model_name": "lenet5", "model_sha256": model_checksum(MODEL)}
    return a_spec(pipeline="classify", params={"top_k": 2}, overlays=False, **model, **folders)


@pytest.fixture
def entries(broker: EmbeddedBroker, store: JobStore, spec: JobSpec) -> list[bytes]:
    return real_entries(make_app(broker.url), store, spec, ("a.jpg", "b.jpg"))


@pytest.fixture
def in_a_worker(
    broker: EmbeddedBroker, store: JobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """This process answers the tasks as a worker's child would."""
    monkeypatch.setenv("PIXELMILL_BROKER", broker.url)
    monkeypatch.setenv("PIXELMILL_ROOTS", str(tmp_path))
    settings.cache_clear()
    monkeypatch.setattr(tasks, "_store", store)
    yield
    settings.cache_clear()


def test_the_real_messages_are_messages(entries: list[bytes]) -> None:
    assert sorted(payload_of(entry)[0] for entry in entries) == sorted(TASKS)
    assert [trouble_with(entry) for entry in entries] == [None, None, None]


def test_an_entry_is_a_message_or_it_is_said_why_not(entries: list[bytes]) -> None:
    @SOME
    @given(st.integers(0, 2**64 - 1))
    def judged(seed: int) -> None:
        entry = mutated(entries, seed)
        trouble = trouble_with(entry)
        assert trouble is None or 5 < len(trouble) < 500
        if trouble is None:  # what Kombu reads of it before anybody else may look
            message = json.loads(entry)
            properties = message["properties"]
            assert message["body"] is not None
            assert (properties["delivery_info"]["exchange"], properties["delivery_tag"]) is not None

    judged()


@pytest.mark.usefixtures("in_a_worker")
@pytest.mark.parametrize("task", TASKS)
def test_a_payload_is_taken_or_put_aside_with_its_cause(
    task: str, entries: list[bytes], store: JobStore, spec: JobSpec
) -> None:
    payload = dict(map(payload_of, entries))[task]
    letters = DeadLetters(store)

    @SOME
    @given(st.integers(0, 2**64 - 1))
    def answered(seed: int) -> None:
        store.redis.flushall()
        store.create(spec.job, queue="pixelmill", priority="normal")
        for key in ("00000000", "close"):
            store.open(spec.job, key, json.dumps({"task": task, "payload": payload}))
        message = changed(random.Random(seed), payload)
        valid = _is_valid(task, message)
        RUN[task](message)  # whatever it raised would be this message lost without a word
        assert [letter.code for letter in letters.list()] == ([] if valid else ["invalid"])
        assert all(" is not valid: " in letter.cause for letter in letters.list())

    answered()


def _is_valid(task: str, message: object) -> bool:
    try:
        MODELS[task].model_validate(message)
    except ValidationError:
        return False
    return True
