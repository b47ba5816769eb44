"""What `pixelmill status` says about loaded models: told by the processes, believed only of those that live."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import pipelines
from pipelines.catalog import SHIPPED
from workers.loaded import LoadedModel, Teller, loaded_by, loaded_key, process_name
from workers.model_cache import Held
from workers.registry import Registry
from workers.roll import Roll
from workers.service_status import service_status
from workers.store import JobStore

QUEUE = "pixelmill"
MINE = process_name(os.getpid())


@pytest.fixture(scope="module")
def held() -> Iterator[Held]:
    yield Held(pipelines.load(str(SHIPPED / "lenet5.onnx")), 300_000)


def about(**more: object) -> dict[str, object]:
    return {"pid": 1, "queue": QUEUE, "processes": 2, "busy": 0, "idle_for": 0.0, **more}


def test_the_service_says_what_a_workers_processes_hold_and_which_provider_serves(store: JobStore, held: Held) -> None:
    Teller().tell(store, QUEUE, [held])
    Roll(store, QUEUE).answer("pixelmill-1@here", about(members=[MINE, "elsewhere:9"], memory_mb=310.5))

    (worker,) = service_status(Registry(store), QUEUE).workers

    assert worker.loaded == (LoadedModel("classify", "lenet5", "CPUExecutionProvider", processes=1, bytes=300_000),)
    assert worker.memory_mb == 310.5


def test_two_processes_with_the_same_model_are_one_line(store: JobStore, held: Held) -> None:
    Teller().tell(store, QUEUE, [held])
    store.redis.hset(loaded_key(QUEUE), "elsewhere:9", store.redis.hget(loaded_key(QUEUE), MINE))

    loaded = loaded_by(store, QUEUE, {"one": [MINE, "elsewhere:9"], "two": []})

    assert [(model.processes, model.bytes) for model in loaded["one"]] == [(2, 600_000)]
    assert loaded["two"] == ()


def test_a_process_of_an_earlier_version_tells_no_bytes(store: JobStore) -> None:
    store.redis.hset(loaded_key(QUEUE), "old:1", '{"at": 1, "models": [["detect", "m", "CPUExecutionProvider"]]}')

    loaded = loaded_by(store, QUEUE, {"one": ["old:1"]})

    assert loaded["one"] == (LoadedModel("detect", "m", "CPUExecutionProvider", processes=1, bytes=0),)


def test_what_a_dead_process_told_is_dropped(store: JobStore) -> None:
    store.redis.hset(loaded_key(QUEUE), "gone:1", '{"at": 1, "models": [["detect", "m", "CPUExecutionProvider"]]}')

    loaded = loaded_by(store, QUEUE, {"one": [MINE]})

    assert loaded == {"one": ()}
    assert not store.redis.exists(loaded_key(QUEUE))


def test_a_process_tells_again_only_what_has_changed(store: JobStore, held: Held) -> None:
    teller = Teller()
    teller.tell(store, QUEUE, [held])
    store.redis.delete(loaded_key(QUEUE))

    teller.tell(store, QUEUE, [held])
    unchanged = store.redis.exists(loaded_key(QUEUE))
    teller.tell(store, QUEUE, [])

    assert not unchanged
    assert loaded_by(store, QUEUE, {"one": [MINE]}) == {"one": ()}
    assert store.redis.exists(loaded_key(QUEUE))
