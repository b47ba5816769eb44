"""What a job may be asked for over HTTP, and turning it into a job."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from pipelines.params import files_named
from pipelines.seeds import LARGEST
from workers.folder import LIST_SUFFIXES, Source
from workers.gateway.callers import Caller
from workers.gateway.desk import Desk
from workers.gateway.problems import Problem
from workers.gateway.records import Record
from workers.inputs import is_uri
from workers.queues import Priority
from workers.roots import is_inside
from workers.seeds import Seeds, seeds

_MOST_REFERENCES = 10_000
_MOST_URIS = 200  # they are fetched before the answer

Name = Annotated[str, Field(max_length=200)]


class Asked(BaseModel):
    """A job, without its pictures."""

    model_config = ConfigDict(extra="forbid")

    pipeline: Name = Field(description="what to do, one of GET /v1/pipelines")
    model: Name | None = Field(None, description="a model by name, one of GET /v1/models; default: the pipeline's own")
    params: dict[str, Any] = Field({}, description="the pipeline's parameters, as its JSON Schema says")
    priority: Priority = Field("normal", description="high goes before normal, normal before bulk")
    formats: tuple[Name, ...] | None = Field(None, max_length=20, description="what the results are written as")
    overlays: bool = Field(True, description="draw every picture with its results")
    deadline: float | None = Field(
        None, gt=0, le=30 * 24 * 3600, description="seconds until what is not done is not done any more"
    )
    webhook: Annotated[str, Field(max_length=2000)] = Field(
        "", description="URL that is told, signed, when the job has ended"
    )
    concurrency: int | None = Field(
        None, ge=1, le=10_000, description="most processes of the service that work on the job at once; default: all"
    )


class AskedInWords(Asked):
    """A job without uploads: on pictures the service can reach by itself, or, for `generate`, on seeds."""

    inputs: list[Annotated[str, Field(min_length=1, max_length=4096)]] = Field(
        [],
        max_length=_MOST_REFERENCES,
        description="paths of files, folders or globs below allowed folders, or allowed URIs",
    )
    count: int | None = Field(None, ge=1, le=_MOST_REFERENCES, description="generate: how many pictures")
    seed: int = Field(0, ge=0, le=LARGEST, description="generate: the first seed")

    def seeds(self) -> Seeds | None:
        """The seeds, None for a job on pictures. Raises Problem if it is on both, or on neither."""
        if (self.count is None) == (not self.inputs):
            raise Problem(422, "no_inputs", "a job needs inputs, or for generate a count, and not both")
        return None if self.count is None else seeds(self.count, self.seed)


def submit(desk: Desk, caller: Caller, asked: Asked, ticket: str, inputs: Sequence[str] | Source, digest: str,
           images: tuple[str, ...] = ()) -> Record:  # fmt: skip
    """Give a job to the service and note whose it is. Raises what `Client.submit` does."""
    check_harmless(asked.pipeline, asked.model, asked.params, desk.config.references)
    job = desk.client.submit(
        asked.pipeline,
        inputs,
        output=desk.records.folder(ticket) / "results",
        params=asked.params,
        model=asked.model,
        priority=asked.priority,
        key=f"gateway:{ticket}",
        overlays=asked.overlays,
        formats=asked.formats,
        deadline=asked.deadline,
        webhook=asked.webhook,
        concurrency=asked.concurrency,
    )
    record = Record(job=job, ticket=ticket, owner=caller.id, asked=digest, images=images)
    desk.records.keep(record)
    return record


def digest_of(asked: Asked, images: Sequence[tuple[str, int]] = ()) -> str:
    """Tell one request from another with the same key: what is asked, and names and sizes of the uploads.

    How many work on it makes no other job.
    """
    told = json.dumps([asked.model_dump(mode="json", exclude={"concurrency"}), list(images)], sort_keys=True)
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()


def same_again(record: Record, digest: str) -> Record:
    """The job of a repeated request. Raises Problem 422 if another one was asked for under this key."""
    if record.asked != digest:
        raise Problem(422, "key_reused", "this Idempotency-Key was used for another request: choose a new one")
    return record


def allowed_references(desk: Desk, inputs: Sequence[str]) -> list[str]:
    """Check that paths lie below the allowed folders; of URIs `Client.submit` allows the operator's. Raises Problem."""
    uris = [text for text in inputs if is_uri(text)]
    if len(uris) > _MOST_URIS:
        raise Problem(422, "too_many_uris", f"{len(uris):,} URIs: a job fetches at most {_MOST_URIS}")
    return [*uris, *(str(path) for path in _allowed_paths(desk, [text for text in inputs if text not in set(uris)]))]


def _allowed_paths(desk: Desk, inputs: Sequence[str]) -> list[Path]:
    if inputs and not desk.config.references:
        raise Problem(
            422, "references_off", "this gateway takes uploads only: `pixelmill serve --root FOLDER` allows paths"
        )
    paths = []
    for text in inputs:
        path = Path(text)
        fixed = Path(*_before_glob(path)) if any(c in text for c in "*?[") else path
        if path.suffix.lower() in LIST_SUFFIXES:
            raise Problem(422, "outside_roots", f"{text!r} is a list of files, which may lead anywhere: name the files")
        if not path.is_absolute() or not is_inside(fixed, desk.config.references) or ".." in path.parts:
            raise Problem(422, "outside_roots", f"{text!r} does not lie below a folder this gateway may read")
        paths.append(path)
    return paths


def _before_glob(path: Path) -> tuple[str, ...]:
    """The parts of a path before the first one that is a pattern."""
    parts = path.parts
    first = next(number for number, part in enumerate(parts) if any(c in part for c in "*?["))
    return parts[:first] or (".",)


def check_harmless(pipeline: str, model: str | None, params: dict[str, Any], references: tuple[Path, ...] = ()) -> None:
    """Refuse a model or a parameter that names a file of the server, but below the folders references may lead to.

    Raises Problem.
    """
    if model is not None and ("/" in model or "\\" in model or model.endswith(".onnx")):
        raise Problem(422, "bad_model", "a model is named, not given by its path: GET /v1/models lists them")
    for path in files_named(pipeline, params):
        if Path(path).is_absolute() and ".." not in Path(path).parts and is_inside(Path(path), references):
            continue
        raise Problem(
            422,
            "bad_parameter",
            f"{path!r} would be a file of the server that this gateway may not read: give a colour like #1e90ff, or a "
            "path below a folder of `pixelmill serve --root`",
        )
