"""A colour for every class: stable over runs and machines, and far from its neighbours'."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias, cast

import numpy as np

Colour: TypeAlias = tuple[int, int, int]  # R G B, 0–255

INK: Colour = (17, 17, 17)
PAPER: Colour = (255, 255, 255)
BLACK: Colour = (0, 0, 0)

# The 80 classes of COCO's detectors, in their order (T.-Y. Lin et al., "Microsoft COCO", 2014, appendix).
_THINGS = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,parking meter,"
    "bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,tie,suitcase,frisbee,"
    "skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,"
    "cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,"
    "potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,"
    "refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush"
)
_COCO = {name: place for place, name in enumerate(_THINGS.split(","))}
# what Pascal VOC calls them
_SYNONYMS = {
    "aeroplane": "airplane", "diningtable": "dining table", "motorbike": "motorcycle", "pottedplant": "potted plant",
    "sofa": "couch", "tvmonitor": "tv",
}  # fmt: skip

_BACKGROUNDS = frozenset({"background", "bg"})
_GOLDEN_ANGLE = 137.50776405003785
_FIRST_HUE = 25.0
# Three rings of lightness and chroma: classes whose hues come close again after a turn still differ.
_RINGS = ((0.72, 0.19), (0.62, 0.20), (0.82, 0.16))

# OKLab to linear sRGB: B. Ottosson, "A perceptual color space for image processing", 2020.
_OKLAB_TO_LMS = np.array(
    [[1.0, 0.3963377774, 0.2158037573], [1.0, -0.1055613458, -0.0638541728], [1.0, -0.0894841775, -1.2914855480]]
)
_LMS_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


@lru_cache(maxsize=4096)
def colour_of(class_id: int) -> Colour:
    """Give the colour of a class: R, G, B in 0–255.

    Hues step by the golden angle, so any run of neighbouring ids is spread evenly over the circle; lightness and chroma
    change from id to id as well, and never leave the range in which a line shows on a photograph.
    """
    hue = np.deg2rad((_FIRST_HUE + class_id * _GOLDEN_ANGLE) % 360.0)
    lightness, chroma = _RINGS[class_id % len(_RINGS)]
    lab = np.array([lightness, chroma * np.cos(hue), chroma * np.sin(hue)])
    linear = np.clip(_LMS_TO_RGB @ (_OKLAB_TO_LMS @ lab) ** 3, 0.0, 1.0)
    # The transfer function of sRGB, IEC 61966-2-1.
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    red, green, blue = (round(255 * v) for v in encoded.tolist())
    return red, green, blue


def luminance(colour: Colour) -> float:
    """Relative luminance in [0, 1], WCAG 2.2 definition."""
    channels = [v / 255 for v in colour]
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@lru_cache(maxsize=4096)
def text_colour_on(background: Colour) -> Colour:
    """Give dark or light, whichever has the higher contrast ratio on `background` (WCAG 2.2, 1.4.3)."""
    ground = luminance(background) + 0.05
    on_paper = (luminance(PAPER) + 0.05) / ground
    on_ink = ground / (luminance(INK) + 0.05)
    return PAPER if on_paper > on_ink else INK


def is_background(name: str) -> bool:
    """Whether a class stands for "nothing of these": background, torchvision's __background__ and their like."""
    return name.strip().strip("_").casefold() in _BACKGROUNDS


def mask_palette(names: Sequence[str]) -> list[Colour]:
    """Give the colour of every class of a segmentation, by class id; black for the background.

    A class looks as it does in `detect` and `instances`, whose ids begin behind the background: red cells have one
    colour, whichever pipeline found them. Where all classes are everyday things (Pascal VOC has twenty of them in an
    order of its own), each has the place it has among COCO's, which is the order detectors have.
    """
    things = [name for name in names if not is_background(name)]
    known = [_COCO.get(_SYNONYMS.get(name.casefold(), name.casefold())) for name in things]
    places = known if None not in known and len(set(known)) == len(known) else range(len(things))
    colours = iter([colour_of(cast(int, place)) for place in places])
    return [BLACK if is_background(name) else next(colours) for name in names]
