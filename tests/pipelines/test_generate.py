"""Pictures from seeds by the shipped GANs: reproducible, of the class asked for, judged if wanted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from PIL import Image

import pipelines
from pipelines.catalog import SHIPPED
from pipelines.errors import CardError, ModelError, ParameterError
from pipelines.generate import Generator, latent
from pipelines.results import RenderedPicture, Result
from pipelines.seeds import seed_names

SIZES = {"cells-dcgan": (64, 64), "digits-dcgan": (32, 32)}
MEGABYTE = 1_000_000


def pictures(results: Iterator[Result]) -> list[RenderedPicture]:
    return [result.found for result in results if isinstance(result.found, RenderedPicture)]


@pytest.mark.parametrize("name", SIZES)
def test_a_shipped_gan_is_small_and_says_how_near_it_comes_to_real_pictures(name: str) -> None:
    path = SHIPPED / f"{name}.onnx"
    card = pipelines.read_card(path)

    assert path.stat().st_size < 4 * MEGABYTE
    assert (card.name, card.task, card.family) == (name, "generate", "dcgan")
    assert card.weights.training_data
    assert any("ID" in figure.metric for figure in card.quality)
    assert any("nearest" in figure.metric for figure in card.quality)


@pytest.mark.parametrize("name", SIZES)
def test_the_first_seeds_give_the_pictures_that_somebody_looked_at(name: str) -> None:
    """golden/made-NAME.png: seeds 0 to 5 beside each other. Another kind of processor may differ in the last steps."""
    with Image.open(Path(__file__).parent / "golden" / f"made-{name}.png") as opened:
        golden = np.array(opened.convert("RGB"), int)

    made = pictures(pipelines.load(name, provider="cpu").map(seed_names(6)))

    assert np.abs(np.concatenate([one.pixels for one in made], axis=1) - golden).max() <= 3


@pytest.mark.parametrize("name", SIZES)
def test_the_same_seed_gives_the_same_picture_whatever_is_made_beside_it(name: str) -> None:
    generate = pipelines.load(name, provider="cpu")

    many = pictures(generate.map(seed_names(6, seed=7), threads=3))
    alone = pictures(pipelines.load(name, provider="cpu").map(seed_names(1, seed=9)))

    assert {one.pixels.shape for one in many} == {(*SIZES[name], 3)}
    np.testing.assert_array_equal(many[2].pixels, alone[0].pixels)
    assert [one.facts["seed"] for one in many] == [7, 8, 9, 10, 11, 12]
    assert len({one.pixels.tobytes() for one in many}) == 6


def test_a_picture_is_what_the_bare_session_gives_for_the_seeds_latent_and_class() -> None:
    path = SHIPPED / "digits-dcgan.onnx"
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    hot = np.eye(10, dtype=np.float32)[3]
    image, logit = session.run(["image", "real"], {"noise": np.concatenate([latent(5, 64, 1.5), hot])[None]})

    wanted = {"classes": ("3",), "truncation": 1.5, "judge": True}
    found = pictures(pipelines.load("digits-dcgan", wanted, provider="cpu").map(seed_names(1, seed=5)))[0]

    np.testing.assert_array_equal(found.pixels[..., 0], np.rint((image[0, 0] + 1) * 127.5).clip(0, 255))
    assert found.facts["class"] == "3"
    assert found.facts["judged_real_share"] == pytest.approx(1 / (1 + np.exp(-float(logit[0, 0]))), abs=1e-4)


def test_classes_are_made_in_turn() -> None:
    every = pictures(pipelines.load("digits-dcgan", provider="cpu").map(seed_names(12)))
    some = pictures(pipelines.load("digits-dcgan", {"classes": ("4", "2")}, provider="cpu").map(seed_names(4)))

    assert [one.facts["class"] for one in every] == list("012345678901")
    assert [one.facts["class"] for one in some] == ["4", "2", "4", "2"]


def test_strips_begin_with_a_seeds_picture_and_follow_one_another() -> None:
    plain = pictures(pipelines.load("digits-dcgan", provider="cpu").map(seed_names(3, seed=4)))

    strips = pictures(pipelines.load("digits-dcgan", {"strip": 5}, provider="cpu").map(seed_names(2, seed=4)))

    assert strips[0].pixels.shape == (32, 5 * 32, 3)
    frames = [[strip.pixels[:, 32 * i : 32 * (i + 1)].astype(int) for i in range(5)] for strip in strips]
    for frame, picture in ((frames[0][0], plain[0]), (frames[0][4], plain[1]), (frames[1][4], plain[2])):
        assert np.abs(frame - picture.pixels).max() <= 1  # a batch of five may add up in another order
    assert np.abs(frames[0][4] - frames[1][0]).max() <= 1


def test_a_batch_of_a_gpu_gives_the_same_pictures() -> None:
    generate = pipelines.load("digits-dcgan", {"judge": True}, provider="cpu")

    apart = pictures(generate.map(seed_names(5)))
    together = pictures(generate.map(seed_names(5), batch=4))

    for one, other in zip(apart, together, strict=True):
        assert np.abs(one.pixels.astype(int) - other.pixels).max() <= 1
        assert one.facts["judged_real_share"] == pytest.approx(other.facts["judged_real_share"], abs=1e-3)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"truncation": 0}, "truncation"),
        ({"truncation": -1}, "truncation"),
        ({"truncation": float("nan")}, "truncation"),
        ({"truncation": 11}, "truncation"),
        ({"strip": 1}, "2 frames or more"),
        ({"strip": 65}, "strip"),
        ({"classes": ("eleven",)}, "has no class 'eleven'"),
        ({"score": 0.5}, "generate has no parameter 'score'"),
    ],
)
def test_a_bad_parameter_is_one_clear_error(params: dict[str, object], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        pipelines.load("digits-dcgan", params, provider="cpu")


def test_a_photograph_is_no_seed(tmp_path: Path) -> None:
    generate = pipelines.load("digits-dcgan", provider="cpu")

    with pytest.raises(ParameterError, match="takes no picture"):
        generate(tmp_path / "photo.jpg")


def test_another_networks_file_is_no_generator() -> None:
    with pytest.raises((CardError, ModelError, ParameterError)):
        Generator(
            pipelines.load("lenet5", provider="cpu").session,  # type: ignore[arg-type]
            pipelines.load("digits-dcgan", provider="cpu").params,  # type: ignore[arg-type]
        )
