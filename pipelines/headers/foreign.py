"""What a file is that is no picture we read, by its first bytes, in words for a person."""

from __future__ import annotations

_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"%PDF-", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive (or an Office document)"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"\x1f\x8b", "gzip-compressed data"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"%!PS", "a PostScript file"),
    (b"8BPS", "a Photoshop document"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture, which is not supported"),
    (b"\xff\x0a", "a JPEG XL picture, which is not supported"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 picture, which is not supported"),
    (b"\x00\x00\x01\x00", "an icon file"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"ID3", "an MP3 recording"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"SQLite format 3\0", "a SQLite database"),
)
_BRANDS: dict[bytes, str] = {
    b"heic": "a HEIC photograph, which is not supported", b"heix": "a HEIC photograph, which is not supported",
    b"hevc": "a HEIC photograph, which is not supported", b"mif1": "a HEIF photograph, which is not supported",
    b"msf1": "a HEIF photograph, which is not supported", b"avif": "an AVIF picture, which is not supported",
    b"avis": "an AVIF picture, which is not supported", b"qt  ": "a QuickTime video",
    b"crx ": "a Canon raw photograph, which is not supported",
}  # fmt: skip


_ZEROS = "nothing but zeros where its header should be (a copy that stopped, or a damaged disk)"
_UNKNOWN = "of no known image format"
_COMPLETE = frozenset({_ZEROS, _UNKNOWN})


def foreign(data: bytes) -> str:
    """Say what `data` is, e.g. "HTML, not an image" or "a HEIC photograph, which is not supported"."""
    name = _name(data)
    return name if name in _COMPLETE or name.endswith("not supported") else f"{name}, not an image"


def _name(data: bytes) -> str:
    for start, name in _STARTS:
        if data.startswith(start):
            return name
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "an MP4 video")
    if data[:4] == b"RIFF":
        return {b"AVI ": "an AVI video", b"WAVE": "a sound recording"}.get(data[8:12], "a RIFF file")
    return _text(data)


def _text(data: bytes) -> str:
    head = data[:1024]
    if not head.strip(b"\0"):
        return _ZEROS
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "text"
    try:
        words = head.decode("utf-8-sig") if len(data) <= 1024 else head.decode("utf-8-sig", "ignore")
    except UnicodeDecodeError:
        return _UNKNOWN
    if any(ord(c) < 32 and c not in "\t\n\r\f" for c in words) or len(words) < len(head) // 4:
        return _UNKNOWN
    lower = words.lstrip().lower()
    if lower.startswith(("<!doctype html", "<html")) or "<html" in lower:
        return "HTML"
    if "<svg" in lower:
        return "an SVG drawing, which is not supported"
    if lower.startswith("<?xml"):
        return "XML"
    if lower.startswith("version https://git-lfs"):
        return "a Git LFS pointer (the picture itself was not fetched)"
    return "JSON" if lower.startswith(("{", "[")) else "text"
