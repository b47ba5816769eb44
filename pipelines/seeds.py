"""Seeds: what a generator's pictures are made from, where others have files.

A seed has a name, `seed-0000000007.png`, so that it can stand wherever a picture's name does: in lists, journals and
results. All names are equally long, so that they sort as the numbers do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipelines.errors import ParameterError

LARGEST = 2**32 - 1
MOST = 1_000_000  # pictures in one go

_NAME = re.compile(r"seed-(\d{10})\.png")


def seed_name(seed: int) -> str:
    """The name of a seed. Raises ParameterError if it is out of range."""
    if not 0 <= seed <= LARGEST:
        raise ParameterError(f"a seed is a whole number from 0 to {LARGEST:,}, this one is {seed:,}")
    return f"seed-{seed:010d}.png"


def seed_of(name: str) -> int:
    """The seed a name stands for. Raises ParameterError if it is no seed's name."""
    found = _NAME.fullmatch(name)
    seed = int(found[1]) if found else LARGEST + 1
    if seed > LARGEST:
        raise ParameterError(
            f"generate makes pictures from seeds, called e.g. {seed_name(7)!r}, and takes no picture: {name!r} is none"
        )
    return seed


def check_range(seed: int, count: int) -> range:
    """The seeds of so many pictures. Raises ParameterError if there are too few, too many, or one is out of range."""
    if not 1 <= count <= MOST:
        raise ParameterError(f"count must be 1 to {MOST:,}, this one is {count:,}")
    seed_name(seed)
    if seed + count - 1 > LARGEST:
        raise ParameterError(
            f"{count:,} pictures from seed {seed:,} on go beyond the last seed, {LARGEST:,}: lower --seed or --count"
        )
    return range(seed, seed + count)


def seed_names(count: int, seed: int = 0) -> Iterator[str]:
    """The names of `count` seeds from `seed` on, as `generate.map` takes them; errors as `check_range`."""
    return map(seed_name, check_range(seed, count))
