"""Draw blood smears, so that the models for smears have something to show where there is none at hand.

    python samples/smear.py FOLDER

No photograph: the red cells' thickness is that of Evans and Fung ("Improved measurements of the erythrocyte geometry",
Microvascular Research 4, 1972), light is absorbed by what lies in its way (Beer and Lambert), and all else is made to
look like Wright's stain. Real smears are what the models were trained and measured on; a drawing proves nothing about
them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

HEIGHT, WIDTH = 480, 640
LIGHT = (206, 208, 196)  # of the lamp through the empty slide, RGB
SEEDS = (3, 8)

# what stains absorb of red, green and blue
HAEMOGLOBIN, CYTOPLASM, NUCLEUS, PLATELET = (
    (0.17, 0.62, 0.52),
    (0.30, 0.42, 0.08),
    (0.80, 1.05, 0.12),
    (0.45, 0.62, 0.10),
)

Field = NDArray[np.float32]


def smear(seed: int) -> NDArray[np.uint8]:
    """Draw one: about thirty red cells, one or two white ones, a few platelets. Returns (480, 640, 3) uint8 RGB."""
    random = np.random.default_rng(seed)
    absorbed = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    taken: list[tuple[float, float, float]] = []
    for _ in range(int(random.integers(1, 3))):
        white_cell(random, *patch(absorbed, *place(random, taken, 95, margin=90), 130))
    for _ in range(26):
        radius = random.uniform(40, 52)
        red_cell(random, *patch(absorbed, *place(random, taken, radius, margin=-20), 1.6 * radius), radius)
    for _ in range(int(random.integers(4, 8))):
        there, x, y = patch(absorbed, *place(random, taken, 13, margin=20), 30)
        speck = around(random, there, x, y, random.uniform(10, 15), 1.0, rough=0.12)
        there += edge(speck, 0.25)[..., None] * PLATELET * np.float32(random.uniform(1.2, 1.6))
    slow = cv2.resize(random.normal(0, 1, (4, 5)).astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    absorbed += 0.02 * slow[..., None]
    picture = cv2.GaussianBlur(np.float32(LIGHT) * np.exp(-absorbed), (0, 0), 1.1)
    grain = cv2.GaussianBlur(random.normal(0, 3.5, picture.shape).astype(np.float32), (0, 0), 0.8)
    return np.clip(np.rint(picture + grain), 0, 255).astype(np.uint8)


def place(
    random: np.random.Generator, taken: list[tuple[float, float, float]], radius: float, margin: float
) -> tuple[float, float]:
    """Find room: of forty places the one that touches the others least."""

    def crowding(spot: tuple[float, float]) -> float:
        return max((r + radius - np.hypot(spot[0] - x, spot[1] - y) for x, y, r in taken), default=0.0)

    spots = [(random.uniform(margin, WIDTH - margin), random.uniform(margin, HEIGHT - margin)) for _ in range(40)]
    spot = min(spots, key=lambda one: max(crowding(one), -4.0))
    taken.append((*spot, radius))
    return spot


def patch(absorbed: Field, x: float, y: float, reach: float) -> tuple[Field, float, float]:
    """The part of the picture around a place, as a view, and where the place is in it."""
    left, top = max(0, int(x - reach)), max(0, int(y - reach))
    return absorbed[top : int(y + reach) + 1, left : int(x + reach) + 1], x - left, y - top


def around(
    random: np.random.Generator, there: Field, x: float, y: float, radius: float, long: float, rough: float
) -> Field:
    """Distance from a centre, 1 on a blob's border: (h, w) float32, as `there`. long: its axes' ratio."""
    down, right = np.mgrid[: there.shape[0], : there.shape[1]].astype(np.float32)
    turn = random.uniform(0, np.pi)
    u = (right - x) * np.cos(turn) + (down - y) * np.sin(turn)
    v = (down - y) * np.cos(turn) - (right - x) * np.sin(turn)
    angle = np.arctan2(v, u * long)
    border = 1 + sum(rough / k * random.normal() * np.cos(k * angle + random.uniform(0, 6.3)) for k in (2, 3, 4, 5))
    return np.asarray(np.hypot(u / long**0.5, v * long**0.5) / radius / np.maximum(border, 0.4), np.float32)


def edge(distance: Field, width: float) -> Field:
    """1 inside, 0 outside, falling over this share of the radius."""
    return np.asarray(np.clip((1 - distance) / width, 0, 1), np.float32)


def red_cell(random: np.random.Generator, there: Field, x: float, y: float, radius: float) -> None:
    """A disc that is thinner in the middle."""
    r = around(random, there, x, y, radius, random.uniform(1.0, 1.25), rough=0.04)
    square = np.clip(r, 0, 1) ** 2
    thickness = np.sqrt(1 - square) * (0.81 + 7.83 * square - 4.39 * square**2)  # µm, Evans and Fung
    there += (thickness / 2.6 * random.uniform(0.62, 0.9))[..., None] * np.float32(HAEMOGLOBIN)


def white_cell(random: np.random.Generator, there: Field, x: float, y: float) -> None:
    """A pale body around a dark nucleus of three or four lobes."""
    body = edge(around(random, there, x, y, 92, random.uniform(1.0, 1.1), rough=0.03), 0.06)
    mottled = cv2.GaussianBlur(random.normal(0, 1, body.shape).astype(np.float32), (0, 0), 2.5)
    there += (body * (0.75 + 0.9 * mottled))[..., None] * np.float32(CYTOPLASM)
    lobes, start = int(random.integers(3, 5)), random.uniform(0, 6.3)
    nucleus = np.zeros_like(body)
    for k in range(lobes):
        angle = start + k * 4.6 / lobes
        across, down = x + 42 * np.cos(angle), y + 42 * np.sin(angle)
        lobe = around(random, there, across, down, 36, random.uniform(1.0, 1.3), rough=0.08)
        nucleus = np.maximum(nucleus, edge(lobe, 0.18))
    there += (nucleus * body * (1 + 0.6 * mottled))[..., None] * np.float32(NUCLEUS)


def main() -> None:
    """Write the drawings into a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS, start=1):
        cv2.imwrite(str(folder / f"drawn-smear-{number}.png"), cv2.cvtColor(smear(seed), cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main()
