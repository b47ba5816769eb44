"""Jobs and shards as they travel."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from workers.jobs import Close, JobSpec, Shard, attempt_is_dead, new_attempt, new_job_id


def a_spec(**changes: object) -> JobSpec:
    values: dict[str, object] = {
        "job": new_job_id(),
        "pipeline": "detect",
        "model": "/models/m.onnx",
        "model_name": "m",
        "model_sha256": "0" * 64,
        "params": {"score": 0.3, "classes": ["cat"]},
        "fingerprint": "f" * 16,
        "root": "/photos",
        "output": "/out",
    }
    return JobSpec.model_validate({**values, **changes})


FILE_NAMES = st.binary(min_size=1, max_size=30).map(os.fsdecode)


@given(st.lists(FILE_NAMES, min_size=1, max_size=4), FILE_NAMES, st.integers(0, 10**9))
def test_a_shard_survives_its_journey_as_json_whatever_the_files_are_called(
    names: list[str], root: str, number: int
) -> None:
    shard = Shard(spec=a_spec(root=root), number=number, images=tuple(names))

    arrived = Shard.model_validate(json.loads(json.dumps(shard.model_dump(mode="json"))))

    assert arrived == shard


def test_a_close_message_survives_its_journey() -> None:
    close = Close(spec=a_spec(), summary={"root": os.fsdecode(b"/caf\xe9"), "done": 3})

    assert Close.model_validate(json.loads(json.dumps(close.model_dump(mode="json")))) == close


@pytest.mark.parametrize(
    "changes",
    [
        {"images": []},
        {"images": ["a.jpg"] * 257},
        {"images": [""]},
        {"images": ["x" * 4097]},
        {"number": -1},
        {"pixels": "…"},
        {"spec": {"job": "x"}},
    ],
)
def test_a_message_that_is_not_valid_is_refused(changes: dict[str, object]) -> None:
    whole = Shard(spec=a_spec(), number=0, images=("a.jpg",)).model_dump(mode="json")

    with pytest.raises(ValidationError):
        Shard.model_validate({**whole, **changes})


def test_keys_of_shards_sort_as_their_numbers() -> None:
    spec = a_spec()
    keys = [Shard(spec=spec, number=number, images=("a",)).key for number in (2, 10, 999, 12_345_678)]

    assert keys == sorted(keys)


def test_job_ids_are_unique_and_valid() -> None:
    ids = {new_job_id() for _ in range(1000)}

    assert len(ids) == 1000
    assert all(a_spec(job=job).job == job for job in ids)


def test_an_attempt_lives_as_long_as_its_process() -> None:
    code = "from workers.jobs import new_attempt; print(new_attempt(), flush=True); input()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True)
    assert process.stdout is not None
    token = process.stdout.readline().strip()

    while_alive = attempt_is_dead(token)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and still a zombie
    as_a_zombie = attempt_is_dead(token)
    process.communicate()

    assert (while_alive, as_a_zombie, attempt_is_dead(token)) == (False, True, True)


@pytest.mark.parametrize("token", ["elsewhere:1:abc", "elsewhere:999999999:abc", "nonsense", "", ":", "::"])
def test_an_attempt_of_another_machine_or_of_no_form_is_not_called_dead(token: str) -> None:
    assert attempt_is_dead(token) is False


def test_an_attempt_of_this_process_is_alive() -> None:
    assert attempt_is_dead(new_attempt()) is False


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"a": [[[[[[[1]]]]]]]}, "nested deeper than 6 levels"),
        ({"a": list(range(5001))}, "more than 5000 values"),
        ({"a": ["x" * 4097]}, "a string longer than 4096 characters"),
        ({"x" * 4097: 1}, "a string longer than 4096 characters"),
    ],
)
def test_parameters_larger_than_any_client_sends_are_refused(params: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        a_spec(params=params)
