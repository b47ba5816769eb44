"""Jobs and shards: what is asked for, as it travels. Messages carry references, never pixels."""

from __future__ import annotations

import os
import secrets
import time
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from pipelines.card import Provider
from pipelines.errors import ParameterError
from workers.queues import Priority

LONGEST_NAME = 4096  # characters; Linux' own limit for a path is as many bytes


def _fits(name: str) -> str:
    # not Field(min_length=…): pydantic measures as UTF-8 and so refuses file names that are none
    if not 1 <= len(name) <= LONGEST_NAME:
        raise ValueError(f"an image's name has 1 to {LONGEST_NAME} characters, this one has {len(name)}")
    return name


def _no_longer(text: str) -> str:
    if len(text) > LONGEST_NAME:
        raise ValueError(f"a string has up to {LONGEST_NAME} characters here, this one has {len(text)}")
    return text


SEEDED = "generate"  # the pipeline that makes pictures from seeds instead of reading any (`workers.seeds`)
NO_ROOT = ""

RelativeName: TypeAlias = Annotated[str, AfterValidator(_fits)]

_DEEPEST, _MOST_VALUES = 6, 5000


def _bounded(values: dict[str, Any]) -> dict[str, Any]:
    """Refuse what no client of ours sends: a message may come from anyone who reaches the broker.

    At most 6 levels deep, 5,000 values in all, and 4,096 characters in a string.
    """
    count, level = 0, [values]
    for _ in range(_DEEPEST):
        inner: list[Any] = []
        for one in level:
            items = [*one.keys(), *one.values()] if isinstance(one, dict) else one
            count += len(items)
            if count > _MOST_VALUES:
                raise ValueError(f"more than {_MOST_VALUES} values")
            if any(isinstance(item, str) and len(item) > LONGEST_NAME for item in items):
                raise ValueError(f"a string longer than {LONGEST_NAME} characters")
            inner += [item for item in items if isinstance(item, dict | list)]
        level = inner
        if not level:
            return values
    raise ValueError(f"nested deeper than {_DEEPEST} levels")


Bounded: TypeAlias = Annotated[dict[str, Any], AfterValidator(_bounded)]
Text: TypeAlias = Annotated[str, AfterValidator(_no_longer)]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class JobSpec(_Message):
    """A pipeline applied to the images below one folder, with results into another.

    model: path of the model file as workers see it; model_sha256: what that file must be.
    params: resolved, so that every worker computes with the same values.
    root: absolute folder the images' names are relative to; empty where they are seeds (`workers.seeds`).
    output: absolute folder of the results.
    companion_sha256: what the second model must be, where one has a part in the results (`pipelines.companions`).
    fingerprint: names models and parameters; results with the same one can be reused.
    formats: what the results are written as when the job closes (`workers.formats`); None: the pipeline's usual ones.
        No part of the fingerprint: they say the same results in other words.
    concurrency: how many processes of the service may work on it at once; None: all. No part of the fingerprint.
    patience_seconds: how long to try again when output, input or model can't be reached; 0: the job fails at once.
    """

    job: str = Field(pattern=r"^[0-9a-z-]{8,64}$")
    pipeline: Text
    model: Text
    model_name: Text
    model_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    companion_sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    params: Bounded
    fingerprint: Text
    root: Text
    output: Text
    overlays: bool = True
    formats: tuple[Annotated[str, Field(max_length=40)], ...] | None = Field(None, max_length=40)
    provider: Provider = "auto"
    allow_fallback: bool = False
    priority: Priority = "normal"
    concurrency: int | None = Field(None, ge=1)
    patience_seconds: float = Field(0.0, ge=0, le=30 * 24 * 3600)

    @model_validator(mode="after")
    def _only_seeds_have_no_root(self) -> JobSpec:
        # else a name could be the path of any file of the worker's
        if (self.root == NO_ROOT) != (self.pipeline == SEEDED):
            raise ValueError(f"root is empty for the pipeline {SEEDED!r}, whose images are seeds, and for no other")
        return self


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
    summary: Bounded

    key: str = "close"


def check_concurrency(concurrency: object) -> int | None:
    """Give a job's limit of processes back if it is one. Raises ParameterError."""
    if concurrency is None:
        return None
    if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
        raise ParameterError(
            "concurrency is how many processes of the service may work on a job at once, a whole number from 1; "
            f"{concurrency!r} is none. Leave it out for no limit"
        )
    return concurrency


def new_job_id() -> str:
    """A job id that sorts by time of submission."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(4)}"


def new_attempt() -> str:
    """A token that names one attempt and the process that makes it: place, process id, random."""
    return f"{place()}:{os.getpid()}:{secrets.token_hex(6)}"


def process_of_attempt(token: str) -> int | None:
    """The process that made this attempt, if it ran where this one does."""
    where, _, rest = token.partition(":")
    pid = rest.partition(":")[0]
    return int(pid) if where == place() and pid.isdecimal() else None


def attempt_is_dead(token: str, *, unreaped: bool = True) -> bool:
    """Whether the process that made this attempt is known to be gone (only where it ran can that be known).

    unreaped: one that is dead but whose parent has not looked counts too; that parent lives, and may have its own say.
    """
    pid = process_of_attempt(token)
    if pid is None:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return unreaped and _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Whether a process is dead but its parent has not looked: Celery's looks after its children every 5 s."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[:1] in (["Z"], ["X"])


@lru_cache(maxsize=1)
def place() -> str:
    """Where process ids mean the same: a machine since it was started, and a container in it.

    The host's name alone would not do: containers may share it, or bear the name of another machine.
    """
    try:
        booted = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:  # not Linux
        return os.uname().nodename
    return f"{os.uname().nodename}/{booted}/{namespace}"
