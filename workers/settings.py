"""What an operator can set, by environment variables that start with PIXELMILL_."""

from __future__ import annotations

import os
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipelines.card import Provider, first_error
from pipelines.errors import ParameterError


class Settings(BaseSettings):
    """Settings of clients and workers, each from the environment variable PIXELMILL_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="PIXELMILL_", env_ignore_empty=True, extra="ignore", frozen=True)

    broker: str | None = Field(None, description="broker URL (redis://, redis+socket://, amqp://); none: embedded")
    store: str | None = Field(None, description="state store URL (Redis or Valkey); none: the broker")
    queue: str = Field("pixelmill", min_length=1, description="name of the queue shards go to")
    roots: str | None = Field(None, description="folders a worker may read and write below, separated like PATH")
    models: str | None = Field(None, description="folders with model files known by name, separated like PATH")
    processes: int = Field(0, ge=0, le=256, description="processes of a worker; 0: by the cores")
    threads: int = Field(0, ge=0, le=256, description="pictures in work at once in a process; 0: by the cores")
    optimise: Literal["auto", "yes", "no", "only"] = Field(
        "auto", description="take jobs that need PyTorch: auto (where it is installed), yes, no, only these"
    )
    provider: Provider = Field("auto", description="execution provider of workers: auto, cpu, cuda, tensorrt")
    max_pixels: int = Field(100_000_000, ge=1, description="largest picture, in pixels")
    max_bytes: int = Field(256 * 2**20, ge=1, description="largest image file, in bytes")
    max_uploads: int = Field(2**30, ge=0, description="bytes of images given as bytes, stored in one output folder")
    shard_images: int = Field(16, ge=1, le=256, description="images in one message")
    shard_seconds: int = Field(600, ge=10, description="hard time limit of one shard")
    image_seconds: float = Field(120.0, ge=1, description="time limit of one image")
    memory_growth: int = Field(4096, ge=0, description="MB an image may take over the loaded model; 0: no limit")
    model_memory: int = Field(
        1024, ge=0, description="MB of models a process of a worker keeps; 0: only the one in use"
    )
    patience_seconds: float = Field(
        3600.0, ge=0, le=30 * 24 * 3600, description="how long a submitted job waits for a disk or folder in trouble"
    )
    queue_limit: int = Field(10_000, ge=0, description="waiting shards above which no job is taken; 0: no limit")
    lease_seconds: float = Field(5.0, ge=1, le=60, description="a worker that is silent for so long has lost its shard")
    visibility_timeout: int | None = Field(
        None, ge=20, description="seconds after which the broker redelivers; none: twice shard_seconds"
    )
    webhook_secret: SecretStr | None = Field(None, min_length=16, description="what webhooks are signed with")
    webhook_tries: int = Field(12, ge=1, le=50, description="how often a webhook is tried before it is given up")
    private_networks: str | None = Field(
        None, description="private networks webhooks and URIs may reach, e.g. 10.1.0.0/16,127.0.0.1/32; none: none"
    )
    uris: str | None = Field(
        None, description="beginnings of URIs that may be fetched as inputs, by commas; none: none"
    )
    log_format: Literal["text", "json"] = Field("text", description="how workers log: text or json")
    metrics_port: int | None = Field(None, ge=0, le=65535, description="port of a worker's metrics; none: no metrics")
    metrics_host: str = Field("127.0.0.1", description="address a worker's metrics are served on")
    embedded_data: Path | None = Field(None, description="folder for the embedded broker's data; none: a temporary one")

    @model_validator(mode="after")
    def _redelivery_waits_for_the_hard_limit(self) -> Settings:
        if self.visibility_timeout is not None and self.visibility_timeout <= self.shard_seconds:
            raise ValueError(
                f"visibility_timeout {self.visibility_timeout} must be above shard_seconds {self.shard_seconds}, or "
                "the broker would hand out shards that are still being worked on"
            )
        return self

    @field_validator("uris")
    @classmethod
    def _uris_have_schemes(cls, value: str | None) -> str | None:
        for part in _parts(value):
            if not urlsplit(part).scheme or "://" not in part:
                raise ValueError(f"{part} is no beginning of a URI: write https://images.example.org/ or s3://bucket/")
        return value

    @field_validator("private_networks")
    @classmethod
    def _networks_are_understood(cls, value: str | None) -> str | None:
        for part in _parts(value):
            ip_network(part)
        return value

    @property
    def networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """Private networks that may be reached."""
        return tuple(ip_network(part) for part in _parts(self.private_networks))

    @property
    def allowed_uris(self) -> tuple[str, ...]:
        """Beginnings of URIs that may be fetched as inputs."""
        return tuple(_parts(self.uris))

    @property
    def redelivery_seconds(self) -> int:
        """The broker's visibility timeout."""
        return self.visibility_timeout or 2 * self.shard_seconds

    @property
    def allowed_roots(self) -> tuple[Path, ...]:
        """Folders a worker may touch, resolved; the current folder if none are set."""
        parts = [part for part in (self.roots or "").split(os.pathsep) if part]
        return tuple(Path(part).resolve() for part in parts) or (Path.cwd().resolve(),)


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Read the settings once.

    Raises ParameterError that names the variable and what is wrong with it.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise ParameterError(_say(error)) from error


def _say(error: ValidationError) -> str:
    name, _, reason = first_error(error).partition(": ")
    return f"environment variable PIXELMILL_{name.upper()}: {reason}" if name != "it" else reason


def without_password(url: str) -> str:
    """A URL that may be shown: its password replaced by ***."""
    try:
        parts = urlsplit(url)
    except ValueError:  # not a URL at all, so where its password is can't be known
        return "***" if "@" in url else url
    if parts.password is None:
        return url
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:***@{host}"))


def without_secrets(url: str) -> str:
    """A URL that may be shown: without user, password, query and fragment, any of which may be a key."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "***"
    hidden = "?***" if parts.query or parts.fragment else ""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")) + hidden


def _parts(value: str | None) -> list[str]:
    return [part.strip() for part in (value or "").split(",") if part.strip()]
