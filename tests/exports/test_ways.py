"""A picture's way around PyTorch gives what PyTorch users get from the libraries' own code, from pixels to masks."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torchvision.transforms.functional import convert_image_dtype, resize  # noqa: E402

from exports.build import build  # noqa: E402
from exports.cards import card_of  # noqa: E402
from exports.compare import mask_iou  # noqa: E402
from exports.pictures import at_hand, sized  # noqa: E402
from exports.ways import TorchSession, Way  # noqa: E402
from exports.wrappers import wrap  # noqa: E402
from pipelines.masks import PlacedMask  # noqa: E402
from pipelines.results import Instances, SemanticMask  # noqa: E402
from tests.exports.small_networks import detector, segmenter  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("size", [(240, 300), (97, 211)], ids=str)
def test_instances_are_those_torchvision_itself_gives(size: tuple[int, int]) -> None:
    entry = detector(masks=True)
    built = build(entry, "random")
    built.network.roi_heads.score_thresh = 0.0  # type: ignore[union-attr,assignment]  # random weights reach no other
    pixels = sized(next(at_hand()), size)
    card = card_of(entry, built, entry.facts().input, "fp32")
    with torch.no_grad():
        (expected,) = built.network([torch.from_numpy(pixels).permute(2, 0, 1) / 255])

    found = Way(TorchSession(wrap(built.network, entry), card), {"score": 0.0}).see(pixels).found

    assert isinstance(found, Instances)
    assert len(found.masks) == len(expected["boxes"]) > 0
    np.testing.assert_allclose(found.boxes, expected["boxes"].numpy(), atol=1e-3)
    assert (found.class_ids + 1).tolist() == expected["labels"].tolist()
    for mask, own in zip(found.masks, expected["masks"][:, 0].numpy() >= 0.5, strict=True):
        assert mask_iou(mask, PlacedMask.cut(own)) > 0.999


@pytest.mark.parametrize("size", [(240, 300), (97, 211)], ids=str)
def test_a_class_map_is_what_torchvisions_recipe_gives_at_the_pictures_size(size: tuple[int, int]) -> None:
    entry = segmenter()
    built = build(entry, "random")
    pixels = sized(next(at_hand()), size)
    card = card_of(entry, built, entry.facts().input, "fp32")
    picture = convert_image_dtype(torch.from_numpy(pixels).permute(2, 0, 1))
    with torch.no_grad():
        logits = built.network(resize(picture, [96], antialias=True)[None])["out"]
    expected = torch.nn.functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)[0].argmax(0)

    found = Way(TorchSession(wrap(built.network, entry), card)).see(pixels).found

    assert isinstance(found, SemanticMask)
    assert found.class_map.shape == size
    # the pictures were made smaller by OpenCV here and by PyTorch there, which differ by less than a step of 255
    assert (found.class_map == expected.numpy()).mean() > 0.97
