"""What an operator can set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.errors import ParameterError
from workers.settings import Settings, settings, without_password


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    settings.cache_clear()
    yield
    settings.cache_clear()


def test_the_defaults_need_no_variable() -> None:
    assert settings().broker is None
    assert settings().redelivery_seconds == 2 * settings().shard_seconds


def test_a_variable_sets_what_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXELMILL_BROKER", "redis://queue:6379/0")
    monkeypatch.setenv("PIXELMILL_SHARD_IMAGES", "4")

    assert settings().broker == "redis://queue:6379/0"
    assert settings().shard_images == 4


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BROKER", "THREADS", "ROOTS"):
        monkeypatch.setenv(f"PIXELMILL_{name}", "")

    assert settings() == Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [("THREADS", "many"), ("SHARD_IMAGES", "0"), ("PROVIDER", "gpu"), ("LEASE_SECONDS", "0"), ("MAX_BYTES", "-1")],
)
def test_a_value_out_of_range_is_refused_by_the_variables_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"PIXELMILL_{name}", value)

    with pytest.raises(ParameterError, match=f"environment variable PIXELMILL_{name}: "):
        settings()


def test_redelivery_below_the_hard_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXELMILL_SHARD_SECONDS", "100")
    monkeypatch.setenv("PIXELMILL_VISIBILITY_TIMEOUT", "100")

    with pytest.raises(ParameterError, match="visibility_timeout 100 must be above shard_seconds 100"):
        settings()


def test_roots_are_resolved_and_default_to_the_current_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)

    assert Settings().allowed_roots == (tmp_path,)
    assert Settings(roots=f"{tmp_path / 'link'}:/srv").allowed_roots == (tmp_path / "real", Path("/srv"))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:secret@host:6379/0", "redis://:***@host:6379/0"),
        ("redis://user:p%40ss@host/1", "redis://user:***@host/1"),
        ("redis://user:a@b@host/1", "redis://user:***@host/1"),
        ("redis+socket://:secret@/run/x.sock", "redis+socket://:***@/run/x.sock"),
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis://u:secret@[::1", "***"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown
