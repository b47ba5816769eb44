"""Every kind of pixels comes out as 8-bit RGB, by the rules stated in `pipelines.image`."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from pipelines.image import decode, probe
from tests.pipelines.made_images import chunk, difference, over_white, png, png16, saved, scene, tiff


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 2}])
def test_a_jpeg_is_what_pillow_reads(options: dict[str, object]) -> None:
    data = saved(scene(), "JPEG", quality=92, **options)

    picture = decode(data)

    assert difference(picture.pixels, np.asarray(Image.open(io.BytesIO(data)))) <= 2
    assert (picture.size, picture.conversions) == ((45, 62), ())
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.flags.c_contiguous


LOSSLESS = {
    "png": lambda p: saved(p, "PNG"),
    "webp": lambda p: saved(p, "WEBP", lossless=True),
    "bmp": lambda p: saved(p, "BMP"),
    "tiff": lambda p: saved(p, "TIFF"),
    "tiff lzw": lambda p: saved(p, "TIFF", compression="tiff_lzw"),
    "tiff deflate": lambda p: saved(p, "TIFF", compression="tiff_adobe_deflate"),
    "tiff packbits": lambda p: saved(p, "TIFF", compression="packbits"),
    "big tiff": lambda p: saved(p, "TIFF", big_tiff=True),
    "tiff of motorola": lambda p: tiff(
        {256: ("I", (p.shape[1],)), 257: ("I", (p.shape[0],)), 258: ("H", (8, 8, 8)), 259: ("H", (1,)),
         262: ("H", (2,)), 277: ("H", (3,))}, p.tobytes(), ">"),
}  # fmt: skip


@pytest.mark.parametrize("kind", LOSSLESS)
def test_a_lossless_file_comes_back_bit_for_bit(kind: str) -> None:
    picture = decode(LOSSLESS[kind](scene()))

    assert difference(picture.pixels, scene()) == 0
    assert (picture.size, picture.conversions) == ((45, 62), ())


def test_a_lossy_webp_is_what_opencv_reads() -> None:
    data = saved(scene(), "WEBP", quality=90)

    picture = decode(data)

    assert difference(picture.pixels, cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]) <= 2


def test_an_interlaced_png_comes_back_bit_for_bit() -> None:
    """Pillow writes no interlaced PNG: the seven passes of Adam7 are laid out here by hand."""
    pixels, rows = scene(), b""
    for x, y, step_x, step_y in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
                                 (0, 1, 1, 2)):  # fmt: skip
        rows += b"".join(b"\0" + row.tobytes() for row in pixels[y::step_y, x::step_x])
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 62, 45, 8, 2, 0, 0, 1))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")

    assert difference(decode(data).pixels, pixels) == 0
    assert probe(data).progressive


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_grey_is_repeated(kind: str) -> None:
    grey = scene()[..., 2]
    data = saved(grey, kind, **({"quality": 95} if kind == "JPEG" else {}))

    picture = decode(data)

    expected = np.asarray(Image.open(io.BytesIO(data)))
    assert difference(picture.pixels, np.repeat(expected[..., None], 3, axis=2)) <= (1 if kind == "JPEG" else 0)
    assert picture.conversions == ("grey to rgb",)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF"])
def test_black_and_white_becomes_0_and_255(kind: str) -> None:
    bits = scene()[..., 0] > 99
    picture = decode(saved(Image.fromarray(bits), kind))

    assert difference(picture.pixels, np.repeat(np.where(bits, 255, 0)[..., None], 3, axis=2)) == 0


def test_a_white_is_zero_tiff_is_turned_round() -> None:
    grey = scene()[..., 0]
    base = {256: ("I", (62,)), 257: ("I", (45,)), 259: ("H", (1,)), 262: ("H", (0,)), 277: ("H", (1,))}

    eight = decode(tiff({**base, 258: ("H", (8,))}, (255 - grey).tobytes()))
    sixteen = decode(tiff({**base, 258: ("H", (16,))}, (65535 - grey.astype("<u2") * 257).tobytes()))

    assert difference(eight.pixels[..., 0], grey) == 0
    assert difference(sixteen.pixels[..., 0], grey) == 0
    assert sixteen.conversions == ("grey to rgb", "16-bit to 8-bit")


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF"])
def test_a_palette_is_expanded(kind: str) -> None:
    palette = Image.fromarray(scene()).quantize(60)

    picture = decode(saved(palette, kind))

    assert difference(picture.pixels, np.asarray(palette.convert("RGB"))) == 0
    assert picture.conversions == ("palette to rgb",)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_png_of_few_bits_is_spread_over_the_whole_range(bits: int) -> None:
    values = np.arange(2**bits, dtype=np.uint8)
    packed = np.packbits(np.unpackbits(values[:, None], axis=1)[:, 8 - bits :].ravel()).tobytes()

    picture = decode(png(2**bits, 1, bits, 0, b"\0" + packed))

    assert picture.pixels[0, :, 0].tolist() == [round(v * 255 / (2**bits - 1)) for v in values.tolist()]


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})])
def test_transparency_is_laid_over_white(kind: str, options: dict[str, object]) -> None:
    rgb, alpha = scene(), scene()[::-1, :, 0].copy()

    picture = decode(saved(np.dstack([rgb, alpha]), kind, **options))

    assert difference(picture.pixels, over_white(rgb, alpha)) == 0
    assert picture.conversions == ("alpha over white",)


def test_grey_with_alpha_is_laid_over_white() -> None:
    grey, alpha = scene()[..., 2], scene()[..., 0]
    picture = decode(saved(Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)]), "PNG"))

    assert difference(picture.pixels, over_white(np.repeat(grey[..., None], 3, axis=2), alpha)) == 0
    assert picture.conversions == ("grey to rgb", "alpha over white")


def test_a_bmp_with_alpha_is_laid_over_white() -> None:
    rgb, alpha = scene(4, 4), scene(4, 4)[..., 0]
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, 4, -4, 1, 32, 3, 64, 0, 0, 0, 0) + masks + b"BGRs" + bytes(48)
    body = np.dstack([rgb[..., ::-1], alpha]).tobytes()
    data = b"BM" + struct.pack("<IHHI", 14 + len(header) + len(body), 0, 0, 14 + len(header)) + header + body

    picture = decode(data)

    assert difference(picture.pixels, over_white(rgb, alpha)) == 0
    assert picture.conversions == ("alpha over white",)


def test_transparent_palette_entries_become_white() -> None:
    palette = Image.fromarray(scene()).quantize(60)
    indices = np.asarray(palette)

    one = decode(saved(palette, "PNG", transparency=7))
    many = decode(saved(palette, "PNG", transparency=bytes(range(0, 240, 4))))
    gif = decode(saved(palette, "GIF", transparency=7))

    rgb = np.asarray(palette.convert("RGB"))
    assert difference(one.pixels, over_white(rgb, np.where(indices == 7, 0, 255))) == 0
    assert difference(many.pixels, over_white(rgb, indices * 4)) == 0
    assert (gif.pixels == 255).all(axis=2).sum() >= (indices == 7).sum() > 0
    assert one.conversions == many.conversions == gif.conversions == ("palette to rgb", "alpha over white")


@pytest.mark.parametrize("bits", [8, 16])
def test_a_transparent_colour_becomes_white(bits: int) -> None:
    kind = {8: "u1", 16: ">u2"}[bits]
    rgb = np.array([[[10, 20, 30], [40, 50, 60]]], kind)
    grey = np.array([[[10], [40]]], kind)

    colour = decode(png(2, 1, bits, 2, b"\0" + rgb.tobytes(), chunk(b"tRNS", struct.pack(">HHH", 10, 20, 30))))
    shade = decode(png(2, 1, bits, 0, b"\0" + grey.tobytes(), chunk(b"tRNS", struct.pack(">H", 10))))

    assert colour.pixels[0, 0].tolist() == shade.pixels[0, 0].tolist() == [255, 255, 255]
    assert colour.pixels[0, 1].tolist() == ([40, 50, 60] if bits == 8 else [0, 0, 0])
    assert "alpha over white" in colour.conversions


EVERY_VALUE = np.arange(65536, dtype=np.uint16).reshape(256, 256)
ROUNDED = np.rint(np.arange(65536) / 257).astype(np.uint8).reshape(256, 256)  # no v / 257 ends in exactly one half


@pytest.mark.parametrize("make", [lambda v: png16(v[..., None], 0), lambda v: cv2.imencode(".tiff", v)[1].tobytes()])
def test_16_bit_grey_is_scaled_and_rounded(make) -> None:
    picture = decode(make(EVERY_VALUE))

    assert difference(picture.pixels, np.repeat(ROUNDED[..., None], 3, axis=2)) == 0
    assert picture.conversions == ("grey to rgb", "16-bit to 8-bit")


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_16_bit_rgb_is_scaled_and_rounded(suffix: str) -> None:
    values = np.dstack([EVERY_VALUE, EVERY_VALUE[::-1], EVERY_VALUE.T])

    picture = decode(cv2.imencode(suffix, values[..., ::-1])[1].tobytes())

    assert difference(picture.pixels, np.dstack([ROUNDED, ROUNDED[::-1], ROUNDED.T])) == 0
    assert picture.conversions == ("16-bit to 8-bit",)


def test_16_bit_alpha_is_laid_over_white() -> None:
    rgb, alpha, grey = scene(), scene()[::-1, :, 0], scene()[..., 2]
    wide = np.dstack([rgb, alpha]).astype(np.uint16) * 257
    tags = {256: ("I", (62,)), 257: ("I", (45,)), 258: ("H", (16,) * 4), 259: ("H", (1,)), 262: ("H", (2,)),
            277: ("H", (4,)), 338: ("H", (2,))}  # fmt: skip
    part = np.dstack([np.rint(rgb * (alpha[..., None] / 255)), alpha]).astype(np.uint16) * 257

    from_png = decode(png16(wide, 6))
    from_grey = decode(png16(np.dstack([grey, alpha]).astype(np.uint16) * 257, 4))
    from_tiff = decode(tiff(tags, wide.astype("<u2").tobytes()))
    premultiplied = decode(tiff({**tags, 338: ("H", (1,))}, part.astype("<u2").tobytes()))

    assert difference(from_png.pixels, over_white(rgb, alpha)) == 0
    assert difference(from_grey.pixels, over_white(np.repeat(grey[..., None], 3, axis=2), alpha)) == 0
    assert difference(from_tiff.pixels, over_white(rgb, alpha)) == 0
    assert difference(premultiplied.pixels, over_white(rgb, alpha)) <= 1
    assert from_png.conversions == from_tiff.conversions == ("16-bit to 8-bit", "alpha over white")


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_is_what_pillow_makes_of_it(kind: str) -> None:
    data = saved(Image.fromarray(scene()).convert("CMYK"), kind, **({"quality": 97} if kind == "JPEG" else {}))

    picture = decode(data, enough=(10, 10))

    assert difference(picture.pixels, np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))) == 0
    assert np.abs(picture.pixels.astype(int) - scene()).mean() < 4  # not inverted
    assert picture.conversions == ("cmyk to rgb",)


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("GIF", {})])
def test_of_several_frames_the_first_is_read(kind: str, options: dict[str, object]) -> None:
    frames = [Image.fromarray(np.full((20, 30, 3), level, np.uint8)) for level in (40, 90, 200)]
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)

    picture = decode(data)

    assert difference(picture.pixels, np.asarray(frames[0])) == 0
    assert picture.conversions[0] == "first of 3 frames"
