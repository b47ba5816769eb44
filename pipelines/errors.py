"""Everything that can go wrong in this room.

PixelmillError              the root: `except PixelmillError` catches all that the product raises on purpose
├── ImageError              this image gives no result; the others are not touched (stable `code`)
├── ModelError              this model file can't be used at all
│   └── CardError           its card is missing, unreadable or contradicts the graph
├── ProviderError           the execution provider asked for does not serve
└── ParameterError          a pipeline, model or parameter that does not exist or is out of range
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

ImageErrorCode: TypeAlias = Literal[
    "not_found",  # no such file
    "unreadable",  # the file exists, reading it failed (permission, I/O)
    "empty_file",  # zero bytes
    "too_many_bytes",  # over the byte budget
    "too_many_pixels",  # over the pixel budget, read from the header
    "not_an_image",  # no known image format
    "truncated",  # an image that ends too early
    "corrupt",  # an image whose data can't be decoded
    "unsupported_pixels",  # a pixel format we refuse to guess at (e.g. float TIFF)
    "outside_roots",  # a path that leaves the allowed roots
    "crashed",  # the process died on this image, more than once
    "timed_out",  # it took longer than an image may
    "out_of_memory",  # it took more memory than an image may
    "inference_failed",  # the model failed on this image
    "output_failed",  # its picture could not be written
]
IMAGE_ERROR_CODES: frozenset[str] = frozenset(get_args(ImageErrorCode))


class PixelmillError(Exception):
    """Root of every error raised on purpose; its text is one sentence a user can act on."""


class ImageError(PixelmillError):
    """One image gives no result.

    code: a stable word for programs, one of `ImageErrorCode`.
    The text is a sentence for people. The image's name is not part of it: the result carries that.
    """

    def __init__(self, code: ImageErrorCode, message: str) -> None:
        super().__init__(message)
        self.code: ImageErrorCode = code


class ModelError(PixelmillError):
    """A model file can't be read, is truncated, or ONNX Runtime refuses its graph."""


class CardError(ModelError):
    """A model's card is missing, not valid, or claims what its graph does not hold."""


class ProviderError(PixelmillError):
    """The execution provider asked for does not serve on this machine, and fallback was not allowed."""


class ParameterError(PixelmillError):
    """An unknown pipeline, model or parameter, or a value out of its range."""
