"""People before other backgrounds: soft edges, no halo, and clear words where there is nobody or nothing to read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pipelines
from pipelines.catalog import SHIPPED
from pipelines.errors import CardError, ParameterError
from pipelines.matte import alpha_of, refine, settle
from pipelines.matte_colours import lens_blur, sides
from pipelines.params import files_named, resolve_params
from pipelines.pipeline import Pipeline
from pipelines.results import RenderedPicture
from pipelines.types import FloatArray, Image

OFFICER = Path(__file__).parents[2] / "samples" / "people" / "naval-officer.jpg"


def portrait(**params: Any) -> Pipeline:
    """Without the detector, which takes ten times as long as everything else here."""
    return pipelines.load("selfie", {"confirm": False, **params}, provider="cpu")


def picture(pipeline: Pipeline, source: Any) -> RenderedPicture:
    found = pipeline(source).found
    assert isinstance(found, RenderedPicture)
    return found


def hairy_head(side: int = 512) -> tuple[Image, FloatArray, Image]:
    """A red disc with thin hairs before a blue and green ground: picture, true alpha, true foreground."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    angle, radius = np.arctan2(y - side / 2, x - side / 2), np.hypot(y - side / 2, x - side / 2)
    reach = side * (0.25 + 0.02 * (np.sin(90 * angle) > 0.2))
    alpha = np.clip(reach - radius, 0, 1).astype(np.float32)
    front = np.full((side, side, 3), (170, 40, 30), np.uint8)
    back = np.dstack([20 + 0 * x, 90 + 60 * y / side, 200 - 60 * x / side])
    mixed = front * alpha[..., None] + back * (1 - alpha[..., None])
    return np.rint(mixed).astype(np.uint8), alpha, front


def coarse_of(alpha: FloatArray, cells: int = 128) -> FloatArray:
    """What a network of few cells would say of it: a disc that knows no hair."""
    import cv2

    small = cv2.resize(alpha, (cells, cells), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(small, (0, 0), 1.2), np.float32)


def test_the_refined_edge_is_nearer_to_the_truth_than_the_enlarged_one() -> None:
    import cv2

    pixels, alpha, _ = hairy_head()
    coarse = coarse_of(alpha)

    matte = refine(pixels, settle(coarse))

    true = cv2.resize(alpha, matte.alpha.shape[::-1], interpolation=cv2.INTER_AREA)
    enlarged = cv2.resize(coarse, matte.alpha.shape[::-1], interpolation=cv2.INTER_LINEAR)
    assert np.abs(matte.alpha - true).mean() < 0.5 * np.abs(enlarged - true).mean()


def test_far_from_the_contour_there_is_no_haze() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)
    coarse = np.zeros((100, 100), np.float32)
    coarse[30:70, 30:70] = 1

    matte = refine(noise, settle(coarse))

    assert matte.alpha[matte.alpha.shape[0] // 2, matte.alpha.shape[1] // 2] == 1
    assert matte.alpha[:40].max() == 0


def test_what_the_network_only_half_believes_is_no_person() -> None:
    coarse = np.full((64, 64), 0.6, np.float32)
    coarse[:, 32:] = 0.0
    coarse[2:4, 50:52] = 0.99

    assert not settle(coarse).any()


def test_the_persons_colour_holds_nothing_of_the_background() -> None:
    pixels, alpha, front = hairy_head()
    matte = refine(pixels, settle(coarse_of(alpha)))
    around = sides(matte)

    from pipelines.matte import planes_of
    from pipelines.matte_colours import own_plane

    per_colour = zip(*map(planes_of, (matte.colours, around.person, around.background)), strict=True)
    own = np.dstack([own_plane(*planes, matte.alpha) for planes in per_colour])
    edge = (matte.alpha > 0.3) & (matte.alpha < 0.9)
    true = front[0, 0] / 255
    assert edge.sum() > 100
    assert np.abs(own[edge] - true).mean() < 0.6 * np.abs(matte.colours[edge] - true).mean()


def test_a_blurred_background_is_not_tinted_by_the_person() -> None:
    pixels, alpha, _ = hairy_head()
    matte = refine(pixels, settle(coarse_of(alpha)))

    blurred = lens_blur(matte, sides(matte), radius=12)

    assert pixels[..., 0][alpha == 0].max() < 40  # the ground has hardly any red, the person much
    assert blurred[matte.alpha == 0][:, 0].max() * 255 < 45


def test_pieces_make_the_picture_that_one_piece_would(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines import portrait as module

    pixels = pipelines.decode(OFFICER.read_bytes()).pixels
    small_pieces = picture(portrait(effect="cutout"), pixels).pixels
    monkeypatch.setattr(module, "_PIECE", 100_000)

    np.testing.assert_array_equal(picture(portrait(effect="cutout"), pixels).pixels, small_pieces)


@pytest.mark.parametrize("size", [(1, 1), (5, 9), (37, 801), (900, 1301)])
@pytest.mark.parametrize("effect", ["blur", "replace", "cutout"])
def test_every_size_comes_back_at_its_size(effect: str, size: tuple[int, int]) -> None:
    import cv2

    pixels = cv2.resize(pipelines.decode(OFFICER.read_bytes()).pixels, size[::-1])

    found = picture(portrait(effect=effect), pixels)

    assert found.pixels.shape == (*size, 4 if effect == "cutout" else 3)


def test_a_cut_out_is_transparent_behind_the_person_and_opaque_inside() -> None:
    found = picture(portrait(effect="cutout"), OFFICER)

    alpha = found.pixels[..., 3]
    height, width = alpha.shape
    assert alpha[height // 2 : height * 3 // 4, width * 2 // 5 : width * 3 // 5].min() == 255
    assert alpha[:5, :5].max() == 0
    assert 0.2 < found.facts["person_share"] < 0.9


def test_nobody_leaves_the_picture_unchanged_and_says_so() -> None:
    grey = np.full((120, 160, 3), 90, np.uint8)

    for effect in ("blur", "replace", "cutout"):
        found = picture(portrait(effect=effect), grey)
        assert found.facts["person_share"] == 0
        np.testing.assert_array_equal(found.pixels[..., :3], grey)


def test_a_colour_stands_behind_the_person() -> None:
    found = picture(portrait(background="#20A0ff"), OFFICER)

    assert found.facts["effect"] == "replace"
    np.testing.assert_array_equal(found.pixels[2, 2], (0x20, 0xA0, 0xFF))


def test_a_picture_stands_behind_the_person_and_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    from PIL import Image as Pillow

    path = tmp_path / "behind.png"
    Pillow.new("RGB", (40, 30), (10, 200, 30)).save(path)
    first = portrait(background=str(path))
    found = picture(first, OFFICER)
    Pillow.new("RGB", (41, 30), (200, 20, 30)).save(path)
    second = portrait(background=str(path))

    np.testing.assert_array_equal(found.pixels[2, 2], (10, 200, 30))
    assert first.fingerprint != second.fingerprint
    assert files_named("portrait", first.params.model_dump(mode="json")) == (str(path.resolve()),)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"background": "nowhere.jpg"}, "there is no picture 'nowhere.jpg'"),
        ({"background": "#12"}, "six hexadecimal digits"),
        ({"background": "#123456", "effect": "blur"}, "belongs to the effect 'replace'"),
        ({"blur": 0}, "blur"),
        ({"effect": "sepia"}, "effect"),
        ({"score": 0.5}, "no parameter 'score'"),
    ],
)
def test_a_wrong_parameter_is_refused_with_a_reason(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        portrait(**wrong)


def test_a_background_that_is_no_picture_is_refused_before_any_picture_runs(tmp_path: Path) -> None:
    path = tmp_path / "behind.jpg"
    path.write_bytes(b"<html>not a picture</html>")

    with pytest.raises(ParameterError, match="can't be used"):
        portrait(background=str(path))


def test_a_background_that_changed_since_the_job_began_is_refused(tmp_path: Path) -> None:
    from PIL import Image as Pillow

    path = tmp_path / "behind.png"
    Pillow.new("RGB", (8, 8)).save(path)
    params = resolve_params(pipelines.read_card(SHIPPED / "selfie.onnx"), {"background": str(path)})
    Pillow.new("RGB", (9, 9)).save(path)

    with pytest.raises(ParameterError, match="has changed"):
        portrait(**params.model_dump(mode="json"))


def test_a_model_that_knows_no_person_is_refused() -> None:
    semantic = SHIPPED / "smears-semantic.onnx"
    if not semantic.exists():
        semantic = SHIPPED / "ssd-mobilenet-v2.onnx"

    with pytest.raises((CardError, ParameterError), match=r"person|portrait"):
        pipelines.load(str(semantic), pipeline="portrait", provider="cpu")


def test_the_rule_stays_within_its_bounds() -> None:
    colours = np.random.default_rng(0).random((5, 6, 3)).astype(np.float32)
    slopes = np.full((5, 6, 4), 9, np.float32)
    bounds = np.dstack([np.zeros((5, 6)), np.full((5, 6), 0.25)]).astype(np.float32)

    np.testing.assert_allclose(alpha_of(colours, slopes, bounds), 0.25)
