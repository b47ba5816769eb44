"""One wrapper a family, so that export never bends a network: what goes into a graph is the wrapper, and what PyTorch
is asked for when both are compared is the same wrapper.

Every wrapper takes one tensor as the card's input describes it and gives a tuple of tensors in the order of the card's
outputs.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from exports.libraries import library

if TYPE_CHECKING:
    from exports.catalog.entry import Entry


class Plain(nn.Module):
    """A network with one tensor in and one out: classifiers, embeddings, generators, style."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """x: (B, C, H, W) or (B, noise)."""
        out = self.network(x)
        return (out[0] if isinstance(out, tuple) else out,)


class Named(nn.Module):
    """A network that gives its outputs by name, e.g. `{"out": …}` of torchvision's segmenters or a pyramid's levels."""

    def __init__(self, network: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """x: (B, 3, H, W)."""
        out: dict[str, Tensor] = self.network(x)
        return tuple(out[name] for name in self.names)


class TwoStage(nn.Module):
    """A torchvision detector, which takes a list of pictures: one picture in, what was found in it out.

    Suppression, score threshold and the resizing of its input are inside, as torchvision does them.
    """

    def __init__(self, network: Any, *, masks: bool) -> None:
        super().__init__()
        # a twin that shares everything but the transform, so that the network itself stays as it is
        twin = copy.copy(network)
        twin._modules = dict(network._modules)
        twin.transform = exact_transform(network.transform)
        self.network, self.masks = twin, masks

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        """picture: (3, H, W) in [0, 1]. Returns boxes (N, 4), labels (N,), scores (N,)[, masks (N, 1, 28, 28)]."""
        found: dict[str, Tensor] = self.network([picture])[0]
        parts = found["boxes"], found["labels"], found["scores"]
        return (*parts, found["masks"]) if self.masks else parts


def exact_transform(own: Any) -> nn.Module:
    """torchvision's transform of detectors, with sizes that a graph computes as Python does, and masks left alone.

    Masks stay probabilities over their boxes: laid into the picture here, a hundred of them on 12 megapixels would be
    4.8 GB of float32, and `pipelines.instances` does it inside each box alone.
    When torchvision is traced it computes the resized height and width in float32 and by a reciprocal, where Python
    divides in float64. Rounded down, that is another size for about every fifth picture (328×400 at 800 becomes 799
    rows instead of 800), and boxes move by pixels.
    """
    transform = library("torchvision.models.detection.transform").GeneralizedRCNNTransform
    is_tracing = library("torchvision")._is_tracing

    class Exact(transform):  # type: ignore[misc,valid-type]
        """Differs in the arithmetic of sizes, in a trace only, and in what becomes of masks."""

        def postprocess(self, result: Any, image_shapes: Any, original_image_sizes: Any) -> Any:
            """Bring boxes back to the picture's size."""
            masks = [found.pop("masks", None) for found in result]
            back: list[dict[str, Tensor]] = super().postprocess(result, image_shapes, original_image_sizes)
            for found, own in zip(back, masks, strict=True):
                if own is not None:
                    found["masks"] = own
            return back

        def resize(self, image: Tensor, target: Any = None) -> tuple[Tensor, Any]:
            """image: (3, H, W). Returns it resized, and `target`, which inference has none of."""
            if self.fixed_size is not None or not is_tracing():
                resized: tuple[Tensor, Any] = super().resize(image, target)
                return resized
            # the shape as numbers of the graph, not as the example's constants
            sides = torch._shape_as_tensor(image)[-2:].to(torch.float64)
            # arrays of one, not scalars: the exporter turns the division of scalars into float32
            least, most = (torch.full((1,), s, dtype=torch.float64) for s in (self.min_size[-1], self.max_size))
            scale = torch.minimum(least / sides.amin(0, keepdim=True), most / sides.amax(0, keepdim=True))
            height, width = torch.floor(sides * scale).to(torch.int64).unbind(0)
            resize: Any = nn.functional.interpolate
            bigger = resize(
                image[None],
                size=(height, width),
                mode="bilinear",
                align_corners=False,
            )
            return bigger[0], target

    made: nn.Module = Exact(
        own.min_size, own.max_size, own.image_mean, own.image_std, own.size_divisible, own.fixed_size
    )
    return made.eval()


class Yolo(nn.Module):
    """An Ultralytics network in its inference form: detections, and for segmentation the mask prototypes."""

    def __init__(self, network: nn.Module, *, masks: bool) -> None:
        super().__init__()
        self.network, self.masks = network, masks

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """x: (B, 3, H, W) in [0, 1]. Returns (B, 4 + C, N) or end-to-end (B, 300, 6)[, (B, 32, H / 4, W / 4)]."""
        out: Any = self.network(x)
        found = out[0] if isinstance(out, tuple | list) else out
        if not self.masks:
            return (found,)
        if isinstance(found, tuple | list):  # Segment in eval mode: ((detections, prototypes), what training needs)
            return found[0], found[1]
        rest = out[1]
        prototypes = rest["proto"] if isinstance(rest, dict) else rest[-1]
        return found, prototypes


def wrap(network: nn.Module, entry: Entry) -> nn.Module:
    """Put a network of the catalogue into its family's wrapper, in eval mode."""
    family = entry.family
    wrapper: nn.Module
    if family in ("torchvision-detection", "torchvision-instances"):
        wrapper = TwoStage(network, masks=family == "torchvision-instances")
    elif family in ("yolo", "yolo-end2end", "yolo-seg"):
        if entry.facts().decode.get("end2end"):
            network.end2end = True  # type: ignore[assignment]  # which of its two heads answers; its exporter does so too
        wrapper = Yolo(network, masks=family == "yolo-seg")
    elif family == "semantic-logits":
        wrapper = Named(network, ("out",))
    elif family == "pyramid" or (family == "dcgan" and len(entry.facts().outputs) > 1):
        wrapper = Named(network, entry.facts().outputs)
    else:
        wrapper = Plain(network)
    return wrapper.eval()
