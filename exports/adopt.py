"""Give a foreign ONNX file a card, checked by running it, and keep a copy that works in every pipeline.

What the graph itself says (name, size, type and layout of its input, names of its outputs) is read from it; what it
can't say (colour order, normalisation, how pictures are fitted, class names, how outputs are to be read) is given by
options or by a small YAML file of the card's own fields:

    task: detect
    family: yolox
    names: coco                      # coco, imagenet, a file, or a list
    input: {colour: BGR, mean: [0, 0, 0], std: [1, 1, 1], resize: {rule: letterbox, anchor: top-left}}
    decode: {strides: [8, 16, 32]}   # for yolox; {end2end: true} for a yolo-seg that picks its boxes itself
    weights: {source: Megvii YOLOX, licence: Apache-2.0}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from exports.cards import exporter
from exports.catalog import find
from exports.errors import AdoptError
from exports.evaluate import Accuracy, Dataset, accuracy, open_dataset
from exports.libraries import library
from exports.pictures import Photographs, photographs
from exports.target import check_target, temporary
from exports.ways import Seen, Way
from pipelines.card import Card, InputSpec, Quality, Weights, first_error, with_card
from pipelines.catalog import user_models
from pipelines.errors import ModelError, ParameterError
from pipelines.params import PARAMS, resolve_params
from pipelines.pipeline import Pipeline
from pipelines.results import Detections, Found, Instances, Labels, SemanticMask
from pipelines.safety import check_model
from pipelines.session import Session

PICTURES = 8
_TYPES = {1: "float32", 10: "float16", 2: "uint8"}  # TensorProto.DataType
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Adopted:
    """What was adopted. seen: how many of each label were found on the photographs. accuracy: where they had labels."""

    path: Path
    card: Card
    seen: Mapping[str, int]
    origin: str
    accuracy: Accuracy | None = None
    notes: tuple[str, ...] = field(default=())


def adopt(
    file: Path,
    claims: Mapping[str, Any],
    *,
    out: Path | None = None,
    verify: Path | None = None,
    say: Say = lambda _: None,
) -> Adopted:
    """Check a foreign model and store a copy with a card.

    claims: fields of the card, nested as in the YAML above; `names` may be "coco", "imagenet", a path or a list.
    out: the file to write; by default where models are found by name.
    verify: photographs to run it on; if they are labelled for its task, its accuracy goes into the card.
    Raises ParameterError for claims that are missing or can't be, ModelError for a file that is not safe to load,
    CardError or AdoptError for a claim that the graph or a run contradicts.
    """
    if not file.is_file():
        raise ParameterError(f"there is no file {file}")
    check_model(file, second_file=True)
    target = out or user_models() / file.name
    check_target(target)
    if target.exists() and target.samefile(file):
        raise ParameterError(f"{target} is the file itself: choose another one with --out, the original stays as it is")
    pictures = photographs(verify, PICTURES)
    try:
        model = library("onnx").load(str(file))
    except Exception as error:  # protobuf and onnx raise their own, undocumented kinds
        raise ModelError(f"{file} can't be read: {(str(error).splitlines() or ['damaged'])[0][:300]}") from error
    card = build_card(model, {"name": target.stem, **claims})
    with temporary(target) as path:
        path.write_bytes(with_card(model.SerializeToString(), card))
        say(f"running {card.name} on {len(pictures.pictures)} pictures")
        seen = check_by_running(Session(path, "cpu"), pictures)
        dataset = open_dataset(verify, card.task, card.names) if verify and card.task in PARAMS else None
        found = None
        if dataset is not None:
            say(f"measuring {dataset.metric} on {len(dataset)} labelled pictures")
            found = accuracy(path, dataset)
            card = card.model_copy(update={"quality": (_quality(found, dataset),)})
        checked = {"compared_with": "nothing: a foreign file, checked by running it", "pictures_from": pictures.origin}
        card = card.model_copy(update={"parity": checked})
        path.write_bytes(with_card(model.SerializeToString(), card))
        Session(path, "cpu")
        path.replace(target)
    return Adopted(target, card, seen, pictures.origin, found)


def build_card(model: Any, claims: Mapping[str, Any]) -> Card:
    """Make a card of what the graph says and what is claimed.

    model: an ONNX ModelProto. Raises ParameterError for a claim that is missing, unknown or out of range.
    """
    for needed in ("task", "family"):
        if not claims.get(needed):
            raise ParameterError(f"an adopted model needs --{needed}: how its outputs are to be read")
    own = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in own]
    if len(inputs) != 1:
        raise AdoptError(f"the graph has {len(inputs)} inputs, a pipeline gives it one picture")
    given = dict(claims.get("input") or {})
    resize = {"rule": "letterbox", **dict(given.pop("resize", None) or {})}
    if claims.get("task") == "classify" and "rule" not in dict(claims.get("input") or {}).get("resize", {}):
        resize["rule"] = "stretch"
    facts = _input_facts(inputs[0], given)
    channels = 1 if given.get("colour") == "GRAY" else 3
    try:
        spec = InputSpec.model_validate(
            {**facts, "mean": (0.0,) * channels, "std": (255.0,) * channels, **given, "resize": resize}
        )
        weights = {"source": "a foreign file", "licence": "unknown", **dict(claims.get("weights") or {})}
        return Card.model_validate(
            {
                "outputs": tuple(value.name for value in model.graph.output),
                "exporter": f"{exporter()}, adopt",
                **{key: value for key, value in claims.items() if key not in ("input", "weights", "names")},
                "names": class_names(claims.get("names", ())),
                "input": spec,
                "weights": Weights.model_validate(weights),
            }
        )
    except ValidationError as error:
        raise ParameterError(f"the card can't be made: {first_error(error)}") from error


def class_names(given: Any) -> tuple[str, ...]:
    """Class names from a word ("coco", "imagenet"), a file (one a line, or YAML or JSON with `names`), or a list.

    Raises ParameterError.
    """
    if isinstance(given, list | tuple):
        return tuple(str(name) for name in given)
    if given == "coco":
        return find("yolo11n").facts().names
    if given == "imagenet":
        return find("resnet50").facts().names
    path = Path(str(given))
    if not path.is_file():
        raise ParameterError(f"class names {str(given)!r} are neither coco, imagenet nor a file")
    text = path.read_text(encoding="utf-8")
    if path.suffix.lower() in (".yaml", ".yml", ".json"):
        loaded = library("yaml").safe_load(text)
        names = loaded.get("names") if isinstance(loaded, dict) and "names" in loaded else loaded
        if isinstance(names, dict):
            names = list(names.values())
        if not isinstance(names, list):
            raise ParameterError(f"{path} holds no list of class names, and no `names` that is one")
        return tuple(str(name) for name in names)
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def read_claims(path: Path) -> dict[str, Any]:
    """Read a YAML file of card fields. Raises ParameterError."""
    if not path.is_file():
        raise ParameterError(f"there is no file {path}")
    try:
        loaded = library("yaml").safe_load(path.read_text(encoding="utf-8"))
    except Exception as error:  # yaml's own kinds
        raise ParameterError(f"{path} is no YAML: {(str(error).splitlines() or ['damaged'])[0]}") from error
    if not isinstance(loaded, dict):
        raise ParameterError(f"{path} holds no card: expected fields like `task: detect`")
    names = loaded.get("names")
    if isinstance(names, str) and (beside := path.parent / names).is_file():
        loaded["names"] = str(beside)
    return {str(key): value for key, value in loaded.items()}


def check_by_running(session: Session, pictures: Photographs) -> dict[str, int]:
    """Run a model on photographs and see whether what it gives is what its card says.

    Returns how often each label was found.
    Raises CardError for a family or `decode` its pipeline can't read, AdoptError that names the claim that fails.
    """
    card = session.card
    if card.task in PARAMS:  # a pipeline runs this task: then it must be able to read this family
        Pipeline(session, resolve_params(card, {}))
    way = Way(session, {})
    counts: Counter[str] = Counter()
    for name, picture in pictures.pictures:
        try:
            seen = way.see(picture)
        except Exception as error:
            raise AdoptError(f"{card.name} can't be run as its card says, on {name}: {error}") from error
        _check_outputs(card, seen)
        counts.update(_labels(seen.found))
    return dict(counts.most_common())


def _labels(found: Found | None) -> Iterable[str]:
    """What a result shows: the first label, every object, or every class that has a pixel."""
    if isinstance(found, Labels):
        return found.names[:1]
    if isinstance(found, Detections | Instances):
        return found.names
    if isinstance(found, SemanticMask):
        return (found.names[class_id] for class_id in np.unique(found.class_map))
    return ()


def _check_outputs(card: Card, seen: Seen) -> None:
    for name, output in zip(card.outputs, seen.outputs, strict=False):
        if output.dtype.kind == "f" and not np.isfinite(output).all():
            raise AdoptError(
                f"output {name!r} of {card.name} holds values that are no numbers: input.mean, input.std or "
                "input.colour of the card are probably wrong"
            )
    first = seen.outputs[0]
    if card.family in ("logits", "probabilities"):
        is_distribution = bool(first.min() >= 0 and abs(float(first.sum()) - 1) < 1e-2)
        if is_distribution != (card.family == "probabilities"):
            really = "probabilities" if is_distribution else "logits"
            raise AdoptError(f"{card.name} gives {really}, its card says family {card.family!r}: use --family {really}")
    scores = getattr(seen.found, "scores", None)
    if scores is not None and len(scores) and not (scores.min() >= 0 and scores.max() <= 1.001):
        raise AdoptError(
            f"{card.name} gives scores from {scores.min():.3g} to {scores.max():.3g}, not from 0 to 1: family "
            f"{card.family!r} is probably wrong"
        )


def _input_facts(value: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Name, layout, type and size of the graph's input, with what is given instead of what it leaves open."""
    sides = [side.dim_value if side.HasField("dim_value") and side.dim_value > 0 else None
             for side in value.type.tensor_type.shape.dim]  # fmt: skip
    kind = _TYPES.get(value.type.tensor_type.elem_type)
    if kind is None or len(sides) not in (3, 4):
        raise AdoptError(f"input {value.name!r} of the graph is no picture: it has {len(sides)} axes of another type")
    layout = given.get("layout") or ("CHW" if len(sides) == 3 else "NHWC" if sides[3] in (1, 3) else "NCHW")
    axis = {letter: number for number, letter in enumerate(layout)}
    height, width = sides[axis["H"]], sides[axis["W"]]
    facts: dict[str, Any] = {
        "name": value.name,
        "layout": layout,
        "dtype": kind,
        "height": height or given.get("height"),
        "width": width or given.get("width"),
        "dynamic": height is None and width is None,
        "batch": sides[0] if len(sides) == 4 else 1,
    }
    if facts["height"] is None or facts["width"] is None:
        raise ParameterError("the graph takes any size: say with --imgsz which one it works best at")
    return facts


def _quality(found: Accuracy, dataset: Dataset) -> Quality:
    value = round(found.value, 5)
    return Quality(
        metric=found.metric, value=value, data=dataset.name, images=found.images, measured_by="pixelmill adopt --verify"
    )
