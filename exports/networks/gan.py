"""A generator and its discriminator in one graph: what a shipped GAN file holds."""

from __future__ import annotations

from typing import TypeAlias

from torch import Tensor, nn

from exports.networks.dcgan import Discriminator, Generator
from exports.networks.smooth_gan import SmoothDiscriminator, SmoothGenerator

AnyGenerator: TypeAlias = Generator | SmoothGenerator
AnyDiscriminator: TypeAlias = Discriminator | SmoothDiscriminator


class JudgedGenerator(nn.Module):
    """A conditional generator whose pictures are judged, with the class as a part of its one input.

    Whoever asks the graph for the picture alone does not pay for the judge.
    """

    def __init__(self, generator: AnyGenerator, discriminator: AnyDiscriminator) -> None:
        super().__init__()
        self.generator, self.discriminator = generator, discriminator

    def forward(self, latent: Tensor) -> dict[str, Tensor]:
        """Make pictures and judge them.

        latent: (B, noise + classes) float32: standard normal noise, then the class as one-hot, or a mixture of classes.
        Returns `image` (B, channels, size, size) in [−1, 1] and `real` (B, 1), a logit.
        """
        image = self.generator.draw(latent)
        hot = latent[:, self.generator.noise :, None, None]
        return {"image": image, "real": self.discriminator.judge(image, hot)}
