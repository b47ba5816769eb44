"""The TensorFlow side of the recipe; runs in an environment that has tensorflow and tf2onnx and nothing of Pixelmill.

python frozen.py convert GRAPH.pb OUT.onnx
python frozen.py run GRAPH.pb PHOTOS.npz OUT.npz
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import tensorflow as tf

HEADS = [f"BoxPredictor_{i}/{kind}/BiasAdd:0" for i in range(6) for kind in ("BoxEncodingPredictor", "ClassPredictor")]
NETWORK_INPUT = "Preprocessor/sub:0"  # behind the preprocessor: what goes into the feature extractor
TAPS = {
    "images": NETWORK_INPUT,
    "boxes": "Postprocessor/Reshape_2:0",
    "scores": "Postprocessor/convert_scores:0",
}


def read(path: str) -> tf.compat.v1.GraphDef:
    graph = tf.compat.v1.GraphDef()
    with open(path, "rb") as file:  # noqa: PTH123
        graph.ParseFromString(file.read())
    return graph


def convert(source: str, target: str) -> None:
    """Cut the graph behind its preprocessor and before its reshapes, and turn the layout to NCHW."""
    import tf2onnx

    tf2onnx.convert.from_graph_def(
        read(source),
        input_names=[NETWORK_INPUT],
        output_names=HEADS,
        shape_override={NETWORK_INPUT: [None, 300, 300, 3]},
        inputs_as_nchw=[NETWORK_INPUT],
        outputs_as_nchw=HEADS,
        opset=17,
        output_path=target,
    )


def run(source: str, photos: str, target: str) -> None:
    """Run the graph, with its own preprocessing and decoding, on every photograph; stack what `TAPS` names.

    The graph's own suppression is left out: it drops everything below a score of 0.3, too early for COCO's metric.
    """
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(read(source), name="")
    pictures = np.load(photos)
    gathered: dict[str, list[Any]] = {name: [] for name in TAPS}
    with tf.compat.v1.Session(graph=graph) as session:
        for name in pictures.files:
            values = session.run(list(TAPS.values()), {"image_tensor:0": pictures[name][None]})
            for tap, value in zip(TAPS, values, strict=True):
                gathered[tap].append(np.squeeze(value))
    stacked: dict[str, Any] = {tap: np.stack(values) for tap, values in gathered.items()}
    np.savez(target, **stacked)


if __name__ == "__main__":
    if sys.argv[1] == "convert":
        convert(*sys.argv[2:])
    else:
        run(*sys.argv[2:])
