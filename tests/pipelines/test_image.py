"""Whatever its entry, a picture comes out upright, within its budget, large enough, or with a reason why not."""

from __future__ import annotations

import itertools
import os
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from pipelines.errors import ImageError
from pipelines.image import Limits, decode, read_bytes
from tests.pipelines.made_images import ORIENTATION, difference, png, saved, scene, tiff

DATA = Path(os.environ.get("PIXELMILL_DATA", Path(__file__).resolve().parents[2] / "../shared/data"))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "TIFF 16", "CMYK JPEG"])
def test_the_orientation_is_applied_exactly_once(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    if kind == "TIFF":
        data = saved(scene(), "TIFF", tiffinfo={ORIENTATION: orientation})
    elif kind == "TIFF 16":
        tags = {256: ("I", (62,)), 257: ("I", (45,)), 258: ("H", (16,) * 3), 259: ("H", (1,)), 262: ("H", (2,)),
                ORIENTATION: ("H", (orientation,)), 277: ("H", (3,))}  # fmt: skip
        data = tiff(tags, (scene().astype(">u2") * 257).astype(">u2").tobytes(), ">")
    elif kind == "CMYK JPEG":
        data = saved(Image.fromarray(scene()).convert("CMYK"), "JPEG", exif=exif, quality=95)
    else:
        data = saved(scene(), kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))

    picture = decode(data)

    reference = Image.fromarray(scene())
    reference.getexif()[ORIENTATION] = orientation
    expected = np.asarray(ImageOps.exif_transpose(reference))
    assert picture.pixels.shape == expected.shape
    assert np.abs(picture.pixels.astype(int) - expected).mean() < (6 if "JPEG" in kind else 0.001)
    assert picture.size == expected.shape[:2]
    assert picture.pixels.flags.c_contiguous
    said = f"exif orientation {orientation} applied"
    assert (said in picture.conversions) == (orientation != 1)


@pytest.mark.parametrize("value", [0, 9, 4711])
def test_a_nonsense_orientation_counts_as_upright(value: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = value
    assert decode(saved(scene(), "JPEG", exif=exif)).conversions == ()


@pytest.mark.parametrize(
    ("enough", "part"),
    [(None, 1), ((101, 150), 1), ((100, 151), 1), ((100, 150), 2), ((51, 1), 2), ((50, 75), 4), ((25, 38), 8),
     ((26, 38), 4), ((0, 0), 8)],
)  # fmt: skip
def test_decoding_shrinks_only_as_far_as_enough_allows(enough: tuple[int, int] | None, part: int) -> None:
    data = saved(scene(200, 300), "JPEG", quality=95)

    picture = decode(data, enough=enough)

    assert picture.pixels.shape == (-(-200 // part), -(-300 // part), 3)
    assert picture.size == (200, 300)
    assert picture.conversions == ((f"decoded at 1/{part} size",) if part > 1 else ())
    small = Image.fromarray(scene(200, 300)).resize(picture.pixels.shape[1::-1], Image.Resampling.BOX)
    assert np.abs(picture.pixels.astype(int) - np.asarray(small)).mean() < 3


def test_enough_is_asked_of_the_upright_picture() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    data = saved(scene(200, 300), "JPEG", exif=exif)

    picture = decode(data, enough=(150, 100))

    assert (picture.pixels.shape, picture.size) == ((150, 100, 3), (300, 200))
    assert decode(data, enough=(100, 150)).pixels.shape == (300, 200, 3)
    assert picture.conversions == ("exif orientation 6 applied", "decoded at 1/2 size")


def test_a_png_always_comes_whole() -> None:
    assert decode(saved(scene(), "PNG"), enough=(1, 1)).pixels.shape == (45, 62, 3)


@pytest.mark.skipif(not (DATA / "coco128").is_dir(), reason="no coco128 photographs: set PIXELMILL_DATA")
def test_photographs_are_what_pillow_reads() -> None:
    for path in sorted((DATA / "coco128").rglob("*.jpg"))[:40]:
        data = read_bytes(path)
        picture, half = decode(data), decode(data, enough=(150, 150))

        expected = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
        assert difference(picture.pixels, expected) <= 2
        assert half.size == expected.shape[:2]
        assert min(half.pixels.shape[:2]) >= 150
        assert any("decoded at" in said for said in half.conversions)


def test_many_threads_decode_at_once() -> None:
    kinds = [saved(scene(), "JPEG"), saved(scene(), "PNG"),
             cv2.imencode(".tiff", np.uint16(scene()) * 257)[1].tobytes(),
             saved(scene(), "WEBP"), saved(Image.fromarray(scene()).convert("CMYK"), "JPEG")]  # fmt: skip
    expected = [decode(data).pixels for data in kinds]
    wrong: list[int] = []

    def work(first: int) -> None:
        for turn in itertools.islice(itertools.cycle(range(len(kinds))), first, first + 60):
            if difference(decode(kinds[turn]).pixels, expected[turn]):
                wrong.append(turn)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_decompression_bomb_is_refused_from_its_header() -> None:
    side = 50_000
    bomb = png(side, side, 1, 0, b"\0" * ((side // 8 + 1) * side))
    assert len(bomb) < 400_000

    with pytest.raises(ImageError, match="50000×50000 = 2,500,000,000 pixels, the limit is 100,000,000") as caught:
        decode(bomb)
    assert caught.value.code == "too_many_pixels"


def test_the_budget_is_of_pixels_as_stored_and_the_limit_itself_passes() -> None:
    data = saved(scene(), "JPEG")
    assert decode(data, Limits(max_pixels=45 * 62)).size == (45, 62)
    with pytest.raises(ImageError) as caught:
        decode(data, Limits(max_pixels=45 * 62 - 1), enough=(1, 1))
    assert caught.value.code == "too_many_pixels"


def test_pillows_own_limit_does_not_override_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # Image.open would refuse 2790
    assert decode(saved(scene(), "PNG")).size == (45, 62)


@pytest.mark.parametrize("shape", [(1, 1), (1, 65535), (3, 65500)])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_extreme_shapes_decode(kind: str, shape: tuple[int, int]) -> None:
    assert decode(saved(np.full((*shape, 3), 7, np.uint8), kind)).pixels.shape == (*shape, 3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 65500), (7, 1)])
def test_extreme_jpegs_decode_at_any_size(shape: tuple[int, int]) -> None:
    data = saved(np.full((*shape, 3), 7, np.uint8), "JPEG")
    assert decode(data).pixels.shape == (*shape, 3)
    assert decode(data, enough=(1, 1)).size == shape


def test_a_file_is_read_whole_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "Grüße – 写真\n.jpg"
    path.write_bytes(b"x" * 100_000)
    assert read_bytes(path) == b"x" * 100_000


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "big.jpg").write_bytes(b"x" * 11)
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    expected = {
        "missing.jpg": ("not_found", "no such file"),
        "big.jpg/inside.jpg": ("not_found", "no such file"),
        "zero\0byte.jpg": ("not_found", "name of a file"),
        "empty.jpg": ("empty_file", "0 bytes"),
        "big.jpg": ("too_many_bytes", "11 bytes, the limit is 10"),
        "pipe.jpg": ("unreadable", "named pipe"),
        "loop.jpg": ("unreadable", "symbolic links"),
        ".": ("unreadable", "folder"),
        "/dev/zero": ("unreadable", "device"),
        "x" * 300: ("unreadable", "too long"),
    }
    for name, (code, words) in expected.items():
        with pytest.raises(ImageError, match=words) as caught:
            read_bytes(tmp_path / name, Limits(max_bytes=10))
        assert caught.value.code == code, name


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_says_so(tmp_path: Path) -> None:
    path = tmp_path / "mine.jpg"
    path.write_bytes(b"x")
    path.chmod(0)
    with pytest.raises(ImageError, match="no permission") as caught:
        read_bytes(path)
    assert caught.value.code == "unreadable"


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK"])
def test_every_picture_can_be_drawn_on(mode: str) -> None:
    kind = "TIFF" if mode == "CMYK" else "PNG"
    for size in ((1, 1), (5, 4)):
        picture = decode(saved(Image.new(mode, size), kind))
        assert picture.pixels.flags.writeable
        assert picture.pixels.flags.c_contiguous
