"""`/v1/pipelines`, `/v1/models`, `/v1/service`, and whether all is well."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from pipelines.card import card_json, read_card
from pipelines.catalog import PIPELINES, find_model, model_files
from pipelines.errors import ModelError
from pipelines.formats.kinds import KIND_OF
from pipelines.palette import colour_of, mask_palette
from pipelines.params import PARAMS
from workers.errors import BrokerError
from workers.formats import FORMATS
from workers.gateway.asked import AskedInWords
from workers.gateway.desk import AtDesk, Reader
from workers.gateway.events import public
from workers.gateway.problems import Problem, busy
from workers.jobs import SEEDED

router = APIRouter(tags=["service"])

_SEEDS = {name: AskedInWords.model_json_schema()["properties"][name] for name in ("count", "seed")}


@router.get("/v1/pipelines")
def pipelines(caller: Reader) -> list[dict[str, Any]]:
    """The pipelines: what each does, its models, its parameters as JSON Schema, the formats of its results.

    seeds: for the one that makes pictures from seeds, the schemas of `count` and `seed`; else null.
    """
    models = _models()
    return [
        {
            "name": entry.name,
            "summary": entry.summary,
            "default_model": entry.default_model,
            "models": [name for name, task in models if task in entry.tasks],
            "formats": [one.name for one in FORMATS.values() if KIND_OF.get(entry.name) in one.kinds],
            "parameters": PARAMS[entry.name].model_json_schema(),
            "seeds": _SEEDS if entry.name == SEEDED else None,
        }
        for entry in PIPELINES.values()
        if entry.name in PARAMS
    ]


@router.get("/v1/models")
def models(caller: Reader) -> list[dict[str, Any]]:
    """The models known by name."""
    rows = []
    for path in model_files():
        try:
            card = read_card(path)
        except ModelError:
            continue
        rows.append(
            {
                "name": path.stem,
                "task": card.task,
                "megabytes": round(path.stat().st_size / 1e6, 1),
                "precision": card.precision,
                "classes": list(card.names),
                "defaults": dict(card.defaults),
                "quality": [quality.model_dump(mode="json") for quality in card.quality],
                "licence": card.weights.licence,
            }
        )
    return rows


@router.get("/v1/models/{name}")
def model(name: str, caller: Reader) -> dict[str, Any]:
    """A model's whole card, and the colour in which each of its classes is drawn."""
    if name not in {path.stem for path in model_files()}:
        raise Problem(404, "unknown_model", f"there is no model {name!r}: GET /v1/models lists them")
    card = read_card(find_model(name))
    colours = mask_palette(card.names) if card.task == "segment" else map(colour_of, range(len(card.names)))
    return {**card_json(card), "colours": ["#{:02x}{:02x}{:02x}".format(*colour) for colour in colours]}


@router.get("/v1/service")
def service(desk: AtDesk, caller: Reader) -> dict[str, Any]:
    """How the service is: queue by priority, workers with their models and providers, failures by reason."""
    told = desk.client.service()
    json = told.to_json()
    json["running"] = [public(status) for status in told.running] if "admin" in caller.scopes else len(told.running)
    return json


@router.get("/healthz", include_in_schema=True)
async def healthz() -> dict[str, str]:
    """Whether this process answers."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"description": "not ready"}})
def readyz(desk: AtDesk) -> JSONResponse:
    """Whether jobs can be taken and somebody works on them."""
    try:
        workers = desk.client.service().workers
    except BrokerError as error:
        raise busy("broker_away", str(error)) from error
    ready = sum(worker.ready for worker in workers)
    if not ready:
        raise busy("no_worker", "no worker takes messages")
    return JSONResponse({"status": "ready", "workers": ready})


def _models() -> list[tuple[str, str]]:
    found = []
    for path in model_files():
        try:
            found.append((path.stem, str(read_card(path).task)))
        except ModelError:
            continue
    return found
