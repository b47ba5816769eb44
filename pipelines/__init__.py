"""An image goes in, a result comes out.

>>> import pipelines
>>> detect = pipelines.load("ssd-mobilenet-v2")
>>> result = detect("photo.jpg")
>>> for result in detect.map(Path("photos").glob("*.jpg")): ...

Everything is imported when it is first used, so that a client which only names pipelines never loads ONNX Runtime.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

# ONNX Runtime's wheels report models and machines to Microsoft since 1.29, unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from pipelines.card import Card, Provider, read_card
    from pipelines.errors import CardError, ImageError, ModelError, ParameterError, PixelmillError, ProviderError
    from pipelines.image import Limits, Picture, decode
    from pipelines.pipeline import Pipeline
    from pipelines.results import Detections, Failure, Instances, Labels, RenderedPicture, Result, SemanticMask
    from pipelines.selective import selective_search

_HOMES = {
    "Card": "card",
    "CardError": "errors",
    "Detections": "results",
    "Failure": "results",
    "ImageError": "errors",
    "Instances": "results",
    "Labels": "results",
    "Limits": "image",
    "ModelError": "errors",
    "ParameterError": "errors",
    "Picture": "image",
    "Pipeline": "pipeline",
    "PixelmillError": "errors",
    "Provider": "card",
    "ProviderError": "errors",
    "RenderedPicture": "results",
    "Result": "results",
    "SemanticMask": "results",
    "decode": "image",
    "read_card": "card",
    "selective_search": "selective",
}

__all__ = [
    "Card",
    "CardError",
    "Detections",
    "Failure",
    "ImageError",
    "Instances",
    "Labels",
    "Limits",
    "ModelError",
    "ParameterError",
    "Picture",
    "Pipeline",
    "PixelmillError",
    "Provider",
    "ProviderError",
    "RenderedPicture",
    "Result",
    "SemanticMask",
    "decode",
    "load",
    "read_card",
    "selective_search",
]


def load(
    model: str,
    params: Mapping[str, Any] | None = None,
    *,
    pipeline: str | None = None,
    provider: Provider = "auto",
    allow_fallback: bool = False,
    threads: int = 1,
) -> Pipeline:
    """Load a model, by name or by the path of its `.onnx` file, as the pipeline its card names.

    params: the pipeline's parameters, e.g. {"score": 0.4}; the model's defaults apply otherwise.
    pipeline: one that runs models of several tasks, e.g. "portrait" on a segmentation network.
    provider: "auto" takes a GPU where one serves; "cuda" and "tensorrt" are strict unless `allow_fallback`.
    threads: threads inside the session; leave it at 1 for `map`, raise it for the lowest latency of a single picture.
    Raises ModelError, CardError, ProviderError or ParameterError.
    """
    from pipelines.catalog import find_model
    from pipelines.pipeline import build

    return build(
        find_model(model),
        params,
        pipeline=pipeline,
        provider=provider,
        allow_fallback=allow_fallback,
        threads=threads,
    )


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"pipelines.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'pipelines' has no attribute {name!r}")
