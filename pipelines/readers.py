"""Which reader turns a network's outputs into a result, by the pipeline that is run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from pipelines import boxmasks, classify, detect, generate_reader, instances, portrait, rcnn, segment, stylize
from pipelines.errors import ParameterError
from pipelines.geometry import Fit
from pipelines.image import Limits
from pipelines.params import (
    ClassifyParams,
    DetectParams,
    GenerateParams,
    InstancesParams,
    Params,
    PortraitParams,
    RcnnParams,
    SegmentParams,
    StylizeParams,
)
from pipelines.results import Found
from pipelines.types import Image, Tensor

if TYPE_CHECKING:
    from pipelines.session import Session

# Outputs of one picture, how it lay in the input, its pixels (None where the caller has none) → what was found.
Reader: TypeAlias = Callable[[Sequence[Tensor], Fit, Image | None], Found]


def reader(session: Session, params: Params, limits: Limits) -> Reader:
    """Build the reader of a pipeline.

    Raises ParameterError if no pipeline has these parameters, CardError if it does not know the model's family.
    """
    card = session.card
    if isinstance(params, ClassifyParams):
        return _without_pixels(classify.reader(card, params))
    if isinstance(params, InstancesParams):  # before DetectParams, whose parameters it has too
        if isinstance(session, boxmasks.Paired):
            return boxmasks.reader(session, params, limits)
        return _without_pixels(instances.reader(card, params, limits))
    if isinstance(params, SegmentParams):
        return _without_pixels(segment.reader(card, params))
    if isinstance(params, PortraitParams):
        return portrait.reader(session, params, limits)
    if isinstance(params, RcnnParams):
        return rcnn.reader(session, params)
    if isinstance(params, StylizeParams):
        return stylize.reader(card, params)
    if isinstance(params, GenerateParams):
        return generate_reader.reader(card, params)
    if isinstance(params, DetectParams):
        return _without_pixels(detect.reader(card, params))
    raise ParameterError(f"no pipeline runs the task {card.task!r}")


def _without_pixels(read: Callable[[Sequence[Tensor], Fit], Found]) -> Reader:
    return lambda outputs, plan, _: read(outputs, plan)
