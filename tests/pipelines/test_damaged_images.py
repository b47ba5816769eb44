"""Whatever bytes come in, a picture or an ImageError comes out: never half a picture, another exception or a crash."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from functools import cache

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.errors import ImageError
from pipelines.image import decode
from tests.pipelines.made_images import chunk, tiff
from tests.pipelines.mutations import decoded_or_refused


@cache
def samples() -> dict[str, bytes]:
    """Real files of every kind, of one noisy picture (noise: no row is like another; small: hypothesis prints them)."""
    noise = np.random.default_rng(7).integers(0, 60, (20, 26, 3))
    pixels = (noise + np.linspace(0, 190, 26)[None, :, None]).astype(np.uint8)
    picture, other = Image.fromarray(pixels), Image.fromarray(pixels[::-1].copy())
    exif = Image.Exif()
    exif[0x0112] = 6

    def saved(kind: str, image: Image.Image = picture, **options: object) -> bytes:
        out = io.BytesIO()
        image.save(out, kind, **options)
        return out.getvalue()

    wide = pixels.astype(np.uint16) * 257
    many = {"save_all": True, "append_images": [other]}
    return {
        "jpeg": saved("JPEG", exif=exif, icc_profile=b"profile"),
        "progressive jpeg": saved("JPEG", progressive=True),
        "cmyk jpeg": saved("JPEG", picture.convert("CMYK")),
        "png": saved("PNG", exif=exif),
        "16-bit png": cv2.imencode(".png", wide)[1].tobytes(),
        "palette png": saved("PNG", picture.quantize(50), transparency=3),
        "apng": saved("PNG", **many),
        "webp": saved("WEBP"),
        "lossless webp": saved("WEBP", picture.convert("RGBA"), lossless=True, exif=exif),
        "animated webp": saved("WEBP", **many),
        "bmp": saved("BMP"),
        "tiff": saved("TIFF", tiffinfo={0x0112: 6}),
        "lzw tiff": saved("TIFF", compression="tiff_lzw"),
        "deflate tiff": saved("TIFF", compression="tiff_adobe_deflate"),
        "jpeg tiff": saved("TIFF", compression="jpeg"),
        "16-bit tiff": cv2.imencode(".tiff", wide)[1].tobytes(),
        "two-page tiff": saved("TIFF", **many),
        "gif": saved("GIF", picture.quantize(60)),
        "animated gif": saved("GIF", picture.quantize(60), **many),
    }


KINDS = tuple(samples())


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_anywhere_is_an_error_or_still_the_whole_picture(kind: str) -> None:
    data = samples()[kind]
    whole = decode(data).pixels

    for length in range(20, len(data) - 1, max(1, len(data) // 120)):
        try:
            pixels = decode(data[:length]).pixels
        except ImageError as error:
            assert error.code in ("truncated", "corrupt"), f"cut at {length}: {error}"
        else:  # only what follows the first frame was cut off
            assert np.array_equal(pixels, whole), f"cut at {length}"


@pytest.mark.parametrize("kind", ["jpeg", "progressive jpeg", "png", "webp", "bmp", "tiff", "lzw tiff", "gif"])
def test_a_file_cut_in_the_middle_is_truncated(kind: str) -> None:
    data = samples()[kind]
    with pytest.raises(ImageError, match="ends") as caught:
        decode(data[: len(data) // 2])
    assert caught.value.code == "truncated"


def test_a_jpeg_padded_with_zeros_where_its_end_is_missing_is_truncated() -> None:
    """What a download that reserved its space first leaves behind when it stops."""
    data = samples()["jpeg"]
    with pytest.raises(ImageError, match="end marker") as caught:
        decode(data[:-60] + bytes(60))
    assert caught.value.code == "truncated"


def test_what_follows_the_end_of_a_jpeg_is_ignored() -> None:
    data = samples()["jpeg"]
    assert np.array_equal(decode(data + b"\0" * 999).pixels, decode(data).pixels)
    assert np.array_equal(decode(data + data[: len(data) // 2]).pixels, decode(data).pixels)


def test_a_thumbnails_end_marker_does_not_stand_for_the_pictures() -> None:
    data = samples()["jpeg"]
    thumbnail = b"Exif\0\0" + data
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    with pytest.raises(ImageError) as caught:
        decode(data[:2] + segment + data[2:-60])
    assert caught.value.code == "truncated"


def test_a_flipped_bit_in_a_png_is_found_by_its_checksum() -> None:
    data = bytearray(samples()["png"])
    data[data.index(b"IDAT") + 100] ^= 1
    with pytest.raises(ImageError, match="checksum of its IDAT chunk") as caught:
        decode(bytes(data))
    assert caught.value.code == "corrupt"


@pytest.mark.parametrize("colour", [0, 2, 3, 6])
def test_a_png_whose_rows_are_missing_is_truncated(colour: int) -> None:
    """A sound file, a sound zlib stream, but half the rows: Pillow would leave the rest black."""
    channels = {0: 1, 2: 3, 3: 1, 6: 4}[colour]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 20, 20, 8, colour, 0, 0, 0))
    rows = zlib.compress((b"\0" + b"\1" * 20 * channels) * 10)
    palette = chunk(b"PLTE", bytes(range(200, 206))) if colour == 3 else b""
    data = b"\x89PNG\r\n\x1a\n" + header + palette + chunk(b"IDAT", rows) + chunk(b"IEND", b"")

    with pytest.raises(ImageError, match="part is missing") as caught:
        decode(data)
    assert caught.value.code == "truncated"


def patched(kind: str, at: int, value: bytes) -> bytes:
    data = samples()[kind]
    return data[:at] + value + data[at + len(value) :]


def sof(kind: str) -> int:
    return samples()[kind].index(b"\xff\xc0")


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (lambda: patched("jpeg", sof("jpeg") + 5, b"\0\0"), "corrupt", "26×0 pixels"),
        (lambda: patched("jpeg", sof("jpeg") + 4, b"\x0c"), "unsupported_pixels", "12 bits"),
        (lambda: patched("jpeg", sof("jpeg") + 9, b"\2"), "unsupported_pixels", "2 channels"),
        (lambda: patched("jpeg", sof("jpeg") + 5, b"\xff\xff\xff\xff"), "too_many_pixels", "65535×65535"),
        (lambda: patched("png", 16, b"\0\0\0\0"), "corrupt", "0×20 pixels"),
        (lambda: patched("png", 24, b"\3"), "corrupt", "colour type 2 with 3 bits"),
        (lambda: patched("bmp", 18, b"\0\0\0\0"), "corrupt", "0×20 pixels"),
        (lambda: patched("bmp", 28, b"\5\0"), "unsupported_pixels", "5 bits"),
        (lambda: patched("gif", 6, b"\0\0"), "corrupt", "0×20 pixels"),
    ],
)
def test_a_nonsense_header_is_named(data, code: str, words: str) -> None:
    with pytest.raises(ImageError, match=words) as caught:
        decode(data())
    assert caught.value.code == code


@pytest.mark.parametrize(("bits", "kind"), [(32, 3), (64, 3), (32, 2), (32, 1), (16, 2)])  # 3: float, 2: signed
def test_numbers_without_a_known_range_are_refused(bits: int, kind: int) -> None:
    tags = {256: (6,), 257: (5,), 258: (bits,), 259: (1,), 262: (1,), 277: (1,), 339: (kind,)}
    data = tiff({tag: ("H", values) for tag, values in tags.items()}, bytes(6 * 5 * bits // 8))
    with pytest.raises(ImageError, match="8 or 16 bits") as caught:
        decode(data)
    assert caught.value.code == "unsupported_pixels"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<!DOCTYPE html><html><body>404</body></html>", "HTML"),
        (b"\n  <html lang=en>", "HTML"),
        (b"%PDF-1.7\n%\xe2\xe3", "a PDF document"),
        (b"PK\x03\x04" + bytes(30), "a ZIP archive"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (b"<?xml version='1.0'?>\n<svg/>", "an SVG drawing"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC photograph"),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1", "an AVIF picture"),
        (b"\0\0\0\x20ftypisom\0\0\2\0", "an MP4 video"),
        (b"\x1aE\xdf\xa3\x01\0\0", "a Matroska or WebM video"),
        (b"\xff\x0a\xfa\x7f", "a JPEG XL picture"),
        (b"{\"error\": \"not found\"}", "JSON"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "a Git LFS pointer"),
        ("Grüße aus dem Süden".encode(), "text"),
        (b"BM is how this sentence begins, and it is text", "text"),
        (bytes(4096), "nothing but zeros"),
        (b"\x8f\x01\xf3\x00\x9c" * 50, "of no known image format"),
    ],
)  # fmt: skip
def test_what_is_no_image_is_named(data: bytes, words: str) -> None:
    with pytest.raises(ImageError, match=f"this file is {words}") as caught:
        decode(data)
    assert caught.value.code == "not_an_image"


def test_an_empty_file_is_named() -> None:
    with pytest.raises(ImageError, match="0 bytes") as caught:
        decode(b"")
    assert caught.value.code == "empty_file"


def test_no_image_and_no_damage_makes_a_sound() -> None:
    """Neither Python warnings nor C libraries' messages reach the user of a truncated picture."""
    code = (
        "import sys\n"
        "from pipelines.errors import ImageError\n"
        "from pipelines.image import decode\n"
        "from tests.pipelines.test_damaged_images import samples\n"
        "for data in samples().values():\n"
        "    for part in (data, data[: len(data) // 2], data[:40]):\n"
        "        try:\n"
        "            decode(part)\n"
        "        except ImageError:\n"
        "            pass\n"
    )
    done = subprocess.run([sys.executable, "-W", "default", "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A real file, spliced with another, cut, and with some of its bytes changed."""
    data = bytearray(samples()[draw(st.sampled_from(KINDS))])
    if draw(st.booleans()):
        other = samples()[draw(st.sampled_from(KINDS))]
        at, start = draw(st.integers(0, len(data))), draw(st.integers(0, len(other)))
        data[at : at + draw(st.integers(0, 400))] = other[start : start + draw(st.integers(0, 400))]
    if draw(st.integers(0, 3)) == 0:
        del data[draw(st.integers(0, len(data))) :]
    for _ in range(draw(st.integers(0, 12))):
        if data:
            reach = draw(st.sampled_from([64, 512, len(data)]))
            data[draw(st.integers(0, min(reach, len(data)) - 1))] = draw(st.integers(0, 255))
    return bytes(data)


@settings(max_examples=600, deadline=None)
@given(damaged(), st.sampled_from([None, (10, 10)]))
def test_damaged_files_give_a_picture_or_an_image_error(data: bytes, enough: tuple[int, int] | None) -> None:
    decoded_or_refused(data, enough)


SIGNATURES = [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x20\0\0\0WEBP", b"BM", b"II*\0", b"MM\0+", b"GIF89a", b""]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(SIGNATURES), st.binary(max_size=400))
def test_noise_behind_a_signature_gives_an_image_error_or_a_picture(start: bytes, noise: bytes) -> None:
    decoded_or_refused(start + noise, None)
