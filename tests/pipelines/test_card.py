"""A card survives the file unchanged, and one that contradicts itself is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.card import CARD_KEY, Card, InputSpec, Quality, Resize, Weights, card_json, read_card, with_card
from pipelines.errors import CardError, ModelError
from pipelines.onnxfile import with_metadata

GRAPH = b"\x3a\x00"  # ModelProto.graph, empty: enough of a file for its metadata
TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)
FINITE = st.floats(-1e6, 1e6, allow_nan=False)


@st.composite
def resizes(draw: st.DrawFn) -> Resize:
    rule = draw(st.sampled_from(["stretch", "letterbox", "crop", "shorter-side", "keep"]))
    side = draw(st.integers(1, 4096))
    return Resize(
        rule=rule,
        interpolation=draw(st.sampled_from(["nearest", "bilinear", "bicubic", "area"])),
        shorter_side=side if rule in ("crop", "shorter-side") else None,
        longer_side=draw(st.integers(side, 16384)) if rule == "shorter-side" else None,
        pad_value=draw(st.integers(0, 255)),
        anchor=draw(st.sampled_from(["centre", "top-left"])),
        stride=draw(st.integers(1, 128)),
    )


@st.composite
def inputs(draw: st.DrawFn) -> InputSpec:
    colour = draw(st.sampled_from(["RGB", "BGR", "GRAY"]))
    channels = 1 if colour == "GRAY" else 3
    resize = draw(resizes())
    return InputSpec(
        name=draw(TEXT),
        layout=draw(st.sampled_from(["NCHW", "NHWC", "CHW"])),
        dtype=draw(st.sampled_from(["float32", "float16", "uint8"])),
        colour=colour,
        height=draw(st.integers(1, 16384)),
        width=draw(st.integers(1, 16384)),
        dynamic=resize.rule == "shorter-side" or draw(st.booleans()),
        batch=draw(st.none() | st.integers(1, 64)),
        mean=tuple(draw(st.lists(FINITE, min_size=channels, max_size=channels))),
        std=tuple(draw(st.lists(st.floats(1e-3, 1e6), min_size=channels, max_size=channels))),
        resize=resize,
    )


@st.composite
def cards(draw: st.DrawFn) -> Card:
    return Card(
        name=draw(TEXT),
        task=draw(st.sampled_from(["classify", "detect", "segment", "instances", "generate", "embed"])),
        family=draw(TEXT),
        names=tuple(draw(st.lists(TEXT, max_size=8))),
        input=draw(inputs()),
        outputs=tuple(draw(st.lists(TEXT, max_size=4))),
        decode=draw(st.dictionaries(TEXT, st.integers() | TEXT | st.lists(FINITE, max_size=3), max_size=3)),
        defaults=draw(st.dictionaries(TEXT, st.integers(-(2**53), 2**53) | FINITE, max_size=3)),
        weights=Weights(source=draw(TEXT), licence=draw(TEXT), training_data=draw(st.none() | TEXT)),
        quality=tuple(
            draw(
                st.lists(
                    st.builds(
                        Quality, metric=TEXT, value=FINITE, data=TEXT, images=st.integers(1, 10**6), measured_by=TEXT
                    ),
                    max_size=2,
                )
            )
        ),
        notes=tuple(draw(st.lists(TEXT, max_size=3))),
        exporter=draw(TEXT),
    )


@settings(max_examples=60, deadline=None)
@given(card=cards())
def test_a_card_comes_back_from_the_file_as_it_went_in(card: Card, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("card") / "m.onnx"
    path.write_bytes(with_card(GRAPH, card))

    assert read_card(path) == card
    assert Card.model_validate(card_json(card)) == card


@settings(max_examples=40, deadline=None)
@given(first=cards(), second=cards())
def test_a_second_card_replaces_the_first(first: Card, second: Card) -> None:
    assert with_card(with_card(GRAPH, first), second) == with_card(GRAPH, second)


@settings(max_examples=60, deadline=None)
@given(spec=inputs(), values=st.lists(FINITE, max_size=5))
def test_mean_needs_one_value_a_channel(spec: InputSpec, values: list[float]) -> None:
    channels = 1 if spec.colour == "GRAY" else 3
    given_fields = {**spec.model_dump(), "mean": values}
    if len(values) == channels:
        assert InputSpec.model_validate(given_fields).mean == tuple(values)
    else:
        with pytest.raises(ValidationError, match=f"mean and std need {channels} values"):
            InputSpec.model_validate(given_fields)


@given(std=st.floats(max_value=0, allow_nan=False))
def test_a_std_that_is_not_positive_is_refused(std: float) -> None:
    with pytest.raises(ValidationError):
        InputSpec(name="x", height=1, width=1, mean=(0.0,) * 3, std=(1.0, std, 1.0), resize=Resize(rule="stretch"))


@pytest.mark.parametrize(
    ("rule", "side"), [("crop", None), ("shorter-side", None), ("stretch", 256), ("letterbox", 256), ("keep", 1)]
)
def test_a_shorter_side_belongs_to_its_rules_and_only_to_them(rule: Any, side: int | None) -> None:
    with pytest.raises(ValidationError, match="shorter_side belongs to the rules 'crop' and 'shorter-side'"):
        Resize(rule=rule, shorter_side=side)


@pytest.mark.parametrize(
    ("rule", "longer", "said"),
    [
        ("crop", 512, "longer_side belongs to the rule 'shorter-side'"),
        ("shorter-side", None, "longer_side belongs to the rule 'shorter-side'"),
        ("shorter-side", 200, "longer_side 200 is less than shorter_side 256"),
    ],
)
def test_a_longer_side_bounds_a_shorter_one_and_nothing_else(rule: Any, longer: int | None, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Resize(rule=rule, shorter_side=256, longer_side=longer)


def test_a_shorter_side_needs_an_input_of_any_size() -> None:
    resize = Resize(rule="shorter-side", shorter_side=256, longer_side=512)

    with pytest.raises(ValidationError, match="dynamic must be true"):
        InputSpec(name="x", height=256, width=256, mean=(0.0,) * 3, std=(1.0,) * 3, resize=resize)


@settings(max_examples=30, deadline=None)
@given(card=cards(), name=TEXT.filter(lambda text: text not in Card.model_fields))
def test_a_field_nobody_knows_is_refused(card: Card, name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("card") / "m.onnx"
    path.write_bytes(with_metadata(GRAPH, {CARD_KEY: json.dumps({**card_json(card), name: 1})}))

    with pytest.raises(CardError, match="is not valid"):
        read_card(path)


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=200))
def test_any_other_text_in_the_cards_place_is_a_card_error(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("card") / "m.onnx"
    path.write_bytes(with_metadata(GRAPH, {CARD_KEY: text}))

    with pytest.raises(CardError, match="is not valid"):
        read_card(path)


@settings(max_examples=150, deadline=None)
@given(content=st.binary(max_size=300))
def test_any_bytes_are_a_model_error_or_a_file_without_a_card(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("card") / "m.onnx"
    path.write_bytes(content)

    with pytest.raises(ModelError):
        read_card(path)


def test_a_file_without_a_card_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(GRAPH)

    with pytest.raises(CardError, match=r"has no card.*pixelmill adopt"):
        read_card(path)
