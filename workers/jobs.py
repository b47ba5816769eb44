"""Jobs and shards: what is asked for, as it travels. Messages carry references, never pixels."""

from __future__ import annotations

import os
import secrets
import time
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from pipelines.card import Provider

LONGEST_NAME = 4096  # characters; Linux' own limit for a path is as many bytes


def _fits(name: str) -> str:
    # not Field(min_length=…): pydantic measures as UTF-8 and so refuses file names that are none
    if not 1 <= len(name) <= LONGEST_NAME:
        raise ValueError(f"an image's name has 1 to {LONGEST_NAME} characters, this one has {len(name)}")
    return name


RelativeName: TypeAlias = Annotated[str, AfterValidator(_fits)]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class JobSpec(_Message):
    """A pipeline applied to the images below one folder, with results into another.

    model: path of the model file as workers see it; model_sha256: what that file must be.
    params: resolved, so that every worker computes with the same values.
    root: absolute folder the images' names are relative to. output: absolute folder of the results.
    fingerprint: names model and parameters; results with the same one can be reused.
    """

    job: str = Field(pattern=r"^[0-9a-z-]{8,64}$")
    pipeline: str
    model: str
    model_name: str
    model_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    params: dict[str, Any]
    fingerprint: str
    root: str
    output: str
    overlays: bool = True
    provider: Provider = "auto"
    allow_fallback: bool = False


class Shard(_Message):
    """The part of a job in one message: up to some images, by their names below the job's root."""

    spec: JobSpec
    number: int = Field(ge=0)
    images: tuple[RelativeName, ...] = Field(min_length=1, max_length=256)

    @property
    def key(self) -> str:
        """The shard's name within its job."""
        return f"{self.number:08d}"


class Close(_Message):
    """The last message of a job: merge the results and draw up what people look at."""

    spec: JobSpec
    summary: dict[str, Any]

    key: str = "close"


def new_job_id() -> str:
    """A job id that sorts by time of submission."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(4)}"


def new_attempt() -> str:
    """A token that names one attempt and the process that makes it: host, process id, random."""
    return f"{os.uname().nodename}:{os.getpid()}:{secrets.token_hex(6)}"


def attempt_is_dead(token: str) -> bool:
    """Whether the process that made this attempt is known to be gone (only its own machine can know)."""
    host, _, rest = token.partition(":")
    if host != os.uname().nodename:
        return False
    try:
        os.kill(int(rest.partition(":")[0]), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, ValueError):
        return False
    return False
