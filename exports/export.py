"""The whole way from a network's name to one verified ONNX file.

    outcome = export(Request("resnet18", weights="random"))
    outcome.path, outcome.report.passed, outcome.speed_ms

The file appears under its name only when everything has passed: until then it lies beside it as a hidden temporary one,
which an error or Ctrl-C removes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from exports.build import Built, build, sized
from exports.cards import card_of, model_name, with_findings
from exports.catalog import Entry, find
from exports.errors import ParityError
from exports.evaluate import Accuracy, Dataset, accuracy, open_dataset
from exports.gates import Precision
from exports.graph import to_onnx
from exports.parity import Report, check
from exports.pictures import Photographs, photographs
from exports.quantize import Calibration, calibration, halve, quantise_convolutions
from exports.random_weights import lower, settle_on
from exports.rawsession import open_session
from exports.speed import speeds, threads, verdict
from exports.target import check_target, temporary, write_model
from exports.ways import TorchSession
from exports.wrappers import wrap
from pipelines.card import Card, InputSpec, Quality
from pipelines.catalog import user_models
from pipelines.cores import available_cores
from pipelines.errors import ParameterError

if TYPE_CHECKING:
    from torch.nn import Module

PICTURES = 8  # photographs an export is compared on
MORE_PICTURES = 24  # … if it is a coarser precision, where shares mean something only over many
MAX_DROP = 0.02  # of accuracy that fp16 or int8 may cost unless the user says otherwise
# An end-to-end head takes the best 300 of its cells, and a letterbox at the smallest height of 32 has 21 · width / 32.
END_TO_END_BOXES, END_TO_END_LEAST = 300, 480
Say = Callable[[str], None]

FP16_ON_CPU = (
    "fp16 halves the file but is not faster on a CPU, which computes in float32 anyway: it pays on a GPU; for speed "
    "here choose --precision int8"
)


@dataclass(frozen=True, slots=True)
class Request:
    """What to export and how.

    weights: "official", "random" or the path of a checkpoint. size: (height, width), None for the network's own.
    dynamic: None as the catalogue says. calibrate: a folder of photographs, needed for int8. verify: a folder of
    photographs, labelled (COCO, YOLO, VOC, or one folder a class) or not. max_drop: of accuracy, in [0, 1].
    out: the file to write; by default `NAME.onnx` where models are found by name. force: keep what fails the gate.
    """

    name: str
    weights: str = "official"
    precision: Precision = "fp32"
    size: tuple[int, int] | None = None
    dynamic: bool | None = None
    calibrate: Path | None = None
    verify: Path | None = None
    max_drop: float | None = None
    out: Path | None = None
    force: bool = False
    trust: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was exported.

    speed_ms: median milliseconds of one run, by name ("PyTorch", "ONNX fp32", …), on `threads` threads.
    accuracy: by precision, where the pictures were labelled. verdict: what the speeds say, in words.
    """

    path: Path
    card: Card
    report: Report
    size_bytes: int
    fp32_bytes: int
    speed_ms: Mapping[str, float]
    threads: int
    seconds: Mapping[str, float]
    verdict: str
    accuracy: Mapping[str, Accuracy] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def export(request: Request, say: Say = lambda _: None, entry: Entry | None = None) -> Outcome:
    """Export, compare, measure and write.

    say: told in words what is being done. entry: a network of your own, which is in no catalogue.
    Raises ParameterError (unknown name, options that don't fit, an unwritable target, an empty folder), WeightsError,
    ExportError, MissingLibraryError, and ParityError if a gate does not hold and `force` is not given.
    """
    entry = entry or find(request.name)
    spec = shape(entry, request.size, request.dynamic)
    target = request.out or user_models() / f"{model_name(entry.name, request.precision)}.onnx"
    check_target(target)
    pictures = photographs(request.verify, PICTURES if request.precision == "fp32" else MORE_PICTURES)
    dataset = _labels(request, entry)
    source = calibration(request.calibrate, spec, entry) if request.precision == "int8" else None
    if request.calibrate and source is None:
        raise ParameterError("--calibrate belongs to --precision int8: nothing else is calibrated")

    clock = _Clock()
    say(f"building {entry.name} with {request.weights if request.weights in ('official', 'random') else 'own'} weights")
    with threads(available_cores()):
        built = build(entry, request.weights, trust=request.trust, size=request.size)
        clock.lap("build")
        return _export_built(request, entry, built, spec, target, pictures, dataset, source, clock, say)


def _export_built(
    request: Request, entry: Entry, built: Built, spec: InputSpec, target: Path, pictures: Photographs,
    dataset: Dataset | None, source: Calibration | None, clock: _Clock, say: Say,
) -> Outcome:  # fmt: skip
    wrapper = wrap(built.network, entry)
    name = target.stem if request.out else None
    card = card_of(entry, built, spec, "fp32", name=name)
    notes = _make_comparable(request, entry, built, wrapper, card, pictures)
    say(f"exporting {entry.name} to ONNX")
    model = to_onnx(built.network, entry, spec, wrapper)
    clock.lap("export")
    with temporary(target, ".fp32") as plain, temporary(target) as final:
        write_model(model, card, plain)
        if request.precision == "fp16":
            say("converting to fp16")
            model = halve(model)
            notes += () if _gpu() else (FP16_ON_CPU,)
        elif source is not None:
            say(f"calibrating int8 on {len(source.pictures)} pictures")
            model = quantise_convolutions(model, card, source)
            notes += source.notes
        clock.lap("convert")
        card = card_of(entry, built, spec, request.precision, notes, name)
        write_model(model, card, final)

        reference = TorchSession(wrapper, card)
        exported = open_session(final, available_cores())
        report = check(
            entry, reference, exported, pictures, request.precision, random_weights=request.weights == "random", say=say
        )
        clock.lap("parity")
        measured = _accuracies(request, dataset, plain, final, say)
        report = _with_drop(report, measured, request, dataset)
        if report.broken and not request.force:
            raise ParityError(_refusal(entry, report))
        report = replace(report, forced=bool(report.broken))
        clock.lap("accuracy")
        say("measuring speed, side by side")
        speed = speeds(entry, spec, wrapper, plain, final if request.precision != "fp32" else None, request.precision)
        clock.lap("speed")

        quality = _quality(measured, request, dataset)
        card = with_findings(card, report.to_card(), quality=quality, notes=(*card.notes, *_forced(report)))
        write_model(model, card, final)
        open_session(final, 1)  # what was written last is what was checked
        sizes = final.stat().st_size, plain.stat().st_size
        final.replace(target)
    return Outcome(
        target, card, report, *sizes, speed, 1, clock.seconds, verdict(speed, request.precision), measured, notes
    )


def shape(entry: Entry, size: tuple[int, int] | None, dynamic: bool | None) -> InputSpec:
    """The input a network is exported with.

    Raises ParameterError for a size the network does not take, or a choice of --dynamic or --static that it can't have.
    """
    spec = sized(entry, size)
    if entry.facts().decode.get("end2end") and dynamic is not False and max(spec.height, spec.width) < END_TO_END_LEAST:
        raise ParameterError(
            f"{entry.name} picks its {END_TO_END_BOXES} best boxes inside, and at {spec.height}×{spec.width} a narrow "
            f"picture has fewer to pick from: give --imgsz {END_TO_END_LEAST} or more, or --static, which pads every "
            "picture to a square"
        )
    if dynamic is None:
        return spec
    if dynamic:
        if spec.dynamic or entry.facts().noise:
            return spec
        raise ParameterError(
            f"{entry.name} sees one size of picture, {spec.height}×{spec.width}, so --dynamic is not for it; "
            "--imgsz chooses another size where it can have one"
        )
    if spec.resize.rule == "keep" and spec.dynamic:
        raise ParameterError(
            f"{entry.name} takes pictures of any size as they are, so --static would make a file that only accepts "
            f"pictures of {spec.height}×{spec.width}; --imgsz limits what it costs"
        )
    resize = spec.resize
    if resize.rule == "shorter-side":  # one size for pictures of any aspect: the rest has to be padded
        resize = resize.model_copy(update={"rule": "letterbox", "shorter_side": None, "longer_side": None})
    return spec.model_copy(update={"dynamic": False, "batch": 1, "resize": resize})


def _make_comparable(
    request: Request, entry: Entry, built: Built, wrapper: Module, card: Card, pictures: Photographs
) -> tuple[str, ...]:
    """Random weights are settled on photographs and let something through; others are left alone."""
    if request.weights != "random" or entry.facts().noise:
        return ()
    chosen = [picture for _, picture in pictures.pictures]
    settle_on(built.network, wrapper, card, chosen)
    note = lower(wrapper, card, chosen[0]) if card.input.layout == "CHW" else None
    return (note,) if note else ()


def _labels(request: Request, entry: Entry) -> Dataset | None:
    """The labels of `--verify`, where a pipeline's results can be compared with them."""
    if request.verify is None or entry.family in ("dcgan-judge", "box-masks"):
        return None
    return open_dataset(request.verify, entry.task, entry.facts().names)


def _accuracies(request: Request, dataset: Dataset | None, plain: Path, final: Path, say: Say) -> dict[str, Accuracy]:
    if dataset is None:
        return {}
    measured: dict[str, Accuracy] = {}
    for precision, path in {"fp32": plain, request.precision: final}.items():
        say(f"measuring {dataset.metric} of {precision} on {len(dataset)} labelled pictures")
        measured[precision] = accuracy(path, dataset)
    return measured


def _with_drop(report: Report, measured: Mapping[str, Accuracy], request: Request, dataset: Dataset | None) -> Report:
    if request.precision == "fp32" or dataset is None or not measured:
        if request.max_drop is not None:
            note = "--max-drop was not used: it compares a precision with fp32 on labelled pictures (--verify)"
            return replace(report, notes=(*report.notes, note))
        return report
    allowed = MAX_DROP if request.max_drop is None else request.max_drop
    drop = measured["fp32"].value - measured[request.precision].value
    checks = {**report.checks, "accuracy_drop": round(drop, 5), "allowed_drop": allowed}
    # Accuracy on labels says what agreement only stands for: where it is known, it decides instead.
    broken = tuple(s for s in report.broken if s.startswith("in a batch"))
    if drop > allowed:
        broken = (*broken, f"{dataset.metric} fell by {drop:.4f} from fp32's {measured['fp32'].value:.4f}, "
                           f"allowed are {allowed:g} (--max-drop)")  # fmt: skip
    return replace(report, checks=checks, broken=broken)


def _quality(measured: Mapping[str, Accuracy], request: Request, dataset: Dataset | None) -> tuple[Quality, ...]:
    if dataset is None or request.precision not in measured:
        return ()
    found = measured[request.precision]
    value = round(found.value, 5)
    return (
        Quality(
            metric=found.metric, value=value, data=dataset.name, images=found.images, measured_by="pixelmill export"
        ),
    )


def _refusal(entry: Entry, report: Report) -> str:
    return (
        f"{entry.name} as {report.precision} does not agree with its network and was not written: "
        f"{'; '.join(report.broken[:3])}. --force writes it all the same and says so in its card"
    )


def _forced(report: Report) -> tuple[str, ...]:
    return (f"written with --force although it failed its check: {'; '.join(report.broken)}",) if report.forced else ()


def _gpu() -> bool:
    import onnxruntime as ort

    return "CUDAExecutionProvider" in ort.get_available_providers()


class _Clock:
    """Seconds each step took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = round(now - self._last, 2)
        self._last = now
