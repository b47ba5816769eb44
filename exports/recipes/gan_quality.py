"""How near made pictures come to real ones, in the features of a network that knows the subject.

The Fréchet distance is that of Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash
equilibrium", arXiv:1706.08500, section 3 (there with Inception's features, hence FID). It needs many more pictures than
features. The kernel distance is that of Bińkowski et al., "Demystifying MMD GANs", arXiv:1801.01401, section 4 (KID):
unbiased, so it can be had from few.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exports.catalog.entry import Facts
from pipelines.card import InputSpec, Resize

Features = NDArray[np.float64]  # (N, D)
_BLOCK = 256  # rows compared at once


def frechet_distance(one: Features, other: Features) -> float:
    """Distance between two sets of features, taken for normal distributions: |Δmean|² + tr(A + B − 2 √(√A B √A)).

    one, other: (N, D) and (M, D), N and M well above D.
    """
    difference = one.mean(0) - other.mean(0)
    a, b = (np.atleast_2d(np.cov(features, rowvar=False)) for features in (one, other))
    values, vectors = np.linalg.eigh(a)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    mixed = np.sqrt(np.linalg.eigvalsh(root @ b @ root).clip(0)).sum()
    return float(difference @ difference + np.trace(a) + np.trace(b) - 2 * mixed)


def kernel_distance(one: Features, other: Features) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel (x·y / D + 1)³; about 0 for the same distribution.

    one, other: (N, D) and (M, D) with at least two rows each.
    """

    def kernel(x: Features, y: Features) -> Features:
        product: Features = (x @ y.T / x.shape[1] + 1) ** 3
        return product

    def within(x: Features) -> float:
        count = len(x)
        return float((kernel(x, x).sum() - ((x * x).sum(1) / x.shape[1] + 1).__pow__(3).sum()) / (count * (count - 1)))

    return within(one) + within(other) - 2 * float(kernel(one, other).mean())


def nearest(pictures: NDArray[Any], among: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """For each picture the nearest of others, pixel by pixel.

    pictures, among: (N, …) and (M, …) of one shape, any dtype.
    Returns root mean square differences in the pictures' units, (N,), and which it was, (N,).
    """
    one, other = (x.reshape(len(x), -1).astype(np.float32) for x in (pictures, among))
    squares = (other * other).sum(1)
    distances, places = np.empty(len(one)), np.empty(len(one), np.int64)
    for start in range(0, len(one), _BLOCK):
        block = one[start : start + _BLOCK]
        apart = (block * block).sum(1)[:, None] + squares[None] - 2 * block @ other.T
        places[start : start + _BLOCK] = apart.argmin(1)
        distances[start : start + _BLOCK] = np.sqrt(apart.min(1).clip(0) / one.shape[1])
    return distances, places


def gan_facts(noise: int, names: tuple[str, ...], channels: int, size: int) -> Facts:
    """What the catalogue would say of a conditional GAN whose file carries both networks."""
    return Facts(
        input=InputSpec(
            name="noise", height=1, width=1, batch=None, mean=(0.0,) * 3, std=(1.0,) * 3, resize=Resize(rule="keep")
        ),
        names=names,
        outputs=("image", "real"),
        noise=noise + len(names),
        notes=(
            f"takes (B, {noise + len(names)}): {noise} standard normal numbers, then the class as one-hot; gives (B, "
            f"{channels}, {size}, {size}) in [−1, 1] and the discriminator's logit",
        ),
    )
