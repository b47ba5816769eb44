"""Anchors and decoding agree with the frozen TensorFlow graph of SSD MobileNetV2, whose numbers stand here."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import ssd

DECODE = {
    "anchor_grids": [[19, 19], [10, 10], [5, 5], [3, 3], [2, 2], [1, 1]],
    "min_scale": 0.2,
    "max_scale": 0.95,
    "aspect_ratios": [1.0, 2.0, 0.5, 3.0, 0.3333],
    "reduce_boxes_in_lowest_layer": True,
    "interpolated_scale_aspect_ratio": 1.0,
}
SCALES = (10, 10, 5, 5)

# The graph's own tensor `Concatenate/concat:0`: row → ymin, xmin, ymax, xmax.
TENSORFLOW_ANCHORS = {
    0: (-0.02368421, -0.02368421, 0.07631579, 0.07631579),
    1: (-0.04439489, -0.1151056, 0.09702647, 0.1677372),
    2: (-0.1151056, -0.04439489, 0.1677372, 0.09702647),
    500: (0.3059471, 0.6924472, 0.5887898, 0.8338686),
    1082: (0.8322629, 0.9029736, 1.115106, 1.044395),
    1083: (-0.125, -0.125, 0.225, 0.225),
    1084: (-0.07374369, -0.1974874, 0.1737437, 0.2974874),
    1086: (-0.05103629, -0.2531089, 0.1510363, 0.3531089),
    1087: (-0.253124, -0.05103124, 0.3531241, 0.1510312),
    1088: (-0.159165, -0.159165, 0.259165, 0.259165),
    1400: (0.340835, 0.04083499, 0.759165, 0.459165),
    1683: (-0.15, -0.15, 0.35, 0.35),
    1833: (-0.1583333, -0.1583333, 0.4916667, 0.4916667),
    1887: (-0.15, -0.15, 0.65, 0.65),
    1911: (0.02500001, 0.02500001, 0.975, 0.975),
    1916: (0.01266029, 0.01266029, 0.9873397, 0.9873397),
}

# Of one photograph: row → `Squeeze:0` (ty, tx, th, tw), `Postprocessor/Reshape_2:0` (ymin, xmin, ymax, xmax).
TENSORFLOW_BOXES = {
    7: ((0.74478, 0.8954899, -2.178849, 0.7845064), (-0.008884735, -0.008538797, 0.08258188, 0.3223532)),
    1200: ((-0.417245, -1.496646, 0.7398902, -2.225446), (0.02441832, 0.6650485, 0.2587189, 1.053493)),
    1724: ((2.442308, 0.5112728, 1.3338, 0.3918231), (0.06704345, 0.02086729, 0.8114226, 0.6374269)),
    1754: ((-1.055357, 0.5575608, 1.203771, 0.5962778), (0.07720026, 0.01063898, 0.8024706, 0.6529329)),
    1784: ((-0.6324211, 3.101229, 0.4035106, 2.808378), (0.3549453, -0.02305809, 0.9729477, 0.9766527)),
    1790: ((0.3289742, 0.5457585, 0.01220411, 1.525507), (0.433014, 0.1443761, 1.004495, 0.9178498)),
    1900: ((-0.7802362, 1.702926, 0.1844173, -1.099431), (0.4123934, -0.01136079, 0.9993329, 0.8966889)),
    1916: ((1.887639, -0.6735824, -2.263208, -0.5663159), (0.3740625, -0.0008059442, 0.993906, 0.8695005)),
}


def test_there_are_as_many_anchors_as_the_network_has_outputs() -> None:
    assert ssd.anchors(DECODE).shape == (1917, 4)
    assert ssd.anchors(DECODE).dtype == np.float32


@pytest.mark.parametrize(("row", "corners"), TENSORFLOW_ANCHORS.items())
def test_an_anchor_is_where_the_tensorflow_graph_has_it(row: int, corners: tuple[float, ...]) -> None:
    cy, cx, height, width = ssd.anchors(DECODE)[row]

    found = (cy - height / 2, cx - width / 2, cy + height / 2, cx + width / 2)

    np.testing.assert_allclose(found, corners, atol=1e-6)


def test_offsets_become_the_boxes_of_the_tensorflow_graph() -> None:
    rows = list(TENSORFLOW_BOXES)
    encodings = np.array([TENSORFLOW_BOXES[row][0] for row in rows], np.float32)
    ymin, xmin, ymax, xmax = np.array([TENSORFLOW_BOXES[row][1] for row in rows]).T

    boxes = ssd.decode_boxes(encodings, ssd.anchors(DECODE)[rows], SCALES)

    np.testing.assert_allclose(boxes, np.stack([xmin, ymin, xmax, ymax], axis=1), atol=1e-6)
    assert boxes.dtype == np.float32


def test_without_the_reduction_every_map_has_the_same_anchors() -> None:
    """Liu et al. 2016, section 2.2: six boxes a cell, the sixth of scale √(s_k · s_k+1); equation 4 for the scales."""
    decode = {**DECODE, "anchor_grids": [[2, 3], [1, 1]], "reduce_boxes_in_lowest_layer": False, "max_scale": 0.9}

    anchors = ssd.anchors(decode)

    assert len(anchors) == (2 * 3 + 1) * 6
    np.testing.assert_allclose(anchors[5], (0.25, 1 / 6, np.sqrt(0.2 * 0.9), np.sqrt(0.2 * 0.9)), rtol=1e-6)
    np.testing.assert_allclose(anchors[-5], (0.5, 0.5, 0.9 / np.sqrt(2), 0.9 * np.sqrt(2)), rtol=1e-6)


def test_a_ratio_of_zero_leaves_the_interpolated_anchor_out() -> None:
    decode = {**DECODE, "interpolated_scale_aspect_ratio": 0}

    assert len(ssd.anchors(decode)) == 19 * 19 * 3 + (10 * 10 + 5 * 5 + 3 * 3 + 2 * 2 + 1) * 5


def test_no_anchors_give_no_boxes() -> None:
    none = np.empty((0, 4), np.float32)

    assert ssd.decode_boxes(none, none, SCALES).shape == (0, 4)


def test_remembered_anchors_can_not_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        ssd.anchors(DECODE)[0] = 1


@given(
    st.lists(st.floats(0.05, 0.95), min_size=4, max_size=4),
    st.lists(st.floats(0.05, 0.95), min_size=4, max_size=4),
)
def test_decoding_undoes_the_encoding_of_the_paper(anchor: list[float], box: list[float]) -> None:
    """Liu et al. 2016, equation 2: offsets of the centre in units of the anchor, logarithms of the ratio of sides."""
    cy, cx, height, width = anchor
    box_cy, box_cx, box_height, box_width = box
    offsets = ((box_cy - cy) / height, (box_cx - cx) / width, np.log(box_height / height), np.log(box_width / width))
    encodings = np.array([offsets], np.float32) * np.array(SCALES, np.float32)

    x1, y1, x2, y2 = ssd.decode_boxes(encodings, np.array([anchor], np.float32), SCALES)[0]

    expected = (box_cx - box_width / 2, box_cy - box_height / 2, box_cx + box_width / 2, box_cy + box_height / 2)
    np.testing.assert_allclose((x1, y1, x2, y2), expected, atol=1e-4)
