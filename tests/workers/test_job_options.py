"""What the words of `run` and `submit` come to, before anything is looked up."""

from __future__ import annotations

import click
import pytest

from workers.commands.job_options import job_options, request_from
from workers.job_request import Request


def asked(*words: str) -> Request:
    """The request that these words make."""
    made: list[Request] = []

    @click.command()
    @job_options
    def command(**options: object) -> None:
        made.append(request_from(options))

    command.main([*words, "photos", "--out", "results"], standalone_mode=False)
    return made[0]


def test_segment_with_instances_is_the_pipeline_of_that_name() -> None:
    assert asked("segment", "--instances").pipeline == "instances"
    assert asked("segment").pipeline == "segment"
    assert asked("instances", "--instances").params == {}


def test_another_pipeline_has_no_instances() -> None:
    with pytest.raises(click.UsageError, match="belongs to the pipeline segment, not to detect"):
        asked("detect", "--instances")


def test_only_what_was_said_is_a_parameter() -> None:
    assert asked("detect", "--score", "0.4", "--class", "cat").params == {"score": 0.4, "classes": ("cat",)}
