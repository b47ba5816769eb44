"""The parts of the gateway that need no service: names of uploads, rates, tokens."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("fastapi")

from pipelines.errors import ParameterError
from workers.gateway.callers import Rates
from workers.gateway.tokens import Tokens
from workers.gateway.uploads import safe_names


@given(st.lists(st.text(max_size=300), max_size=8))
def test_a_name_is_no_path_fits_and_is_there_once(given_names: list[str]) -> None:
    names = safe_names(given_names)

    assert len({name.casefold() for name in names}) == len(given_names)
    for name in names:
        assert name == Path(name).name
        assert not name.startswith(".")
        assert 0 < len(name.encode()) < 200


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("photo.jpg", "photo.jpg"), ("C:\\fakepath\\a b.PNG", "a b.PNG"), ("a/b/../c.jpg", "c.jpg"), ("", "picture"),
     ("....", "picture"), ("a\x00b\n.jpg", "a_b_.jpg"), ("<script>.jpg", "_script_.jpg")],
)  # fmt: skip
def test_a_name_stays_as_it_was_as_far_as_that_is_safe(sent: str, kept: str) -> None:
    assert safe_names([sent]) == [kept]


def test_a_caller_may_burst_and_then_waits_while_others_do_not() -> None:
    now = 100.0
    rates = Rates(2.0, 4.0, lambda: now)

    assert [rates.take("a") for _ in range(4)] == [0, 0, 0, 0]
    assert rates.take("a") == pytest.approx(0.5)
    assert rates.take("b") == 0
    now += 0.5
    assert rates.take("a") == 0


def test_a_token_is_kept_as_a_hash_only_its_owner_can_read(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "tokens.json")

    secret = tokens.add("web", ["read"])

    found = Tokens(tmp_path / "tokens.json").find(secret)
    assert found is not None
    assert (found.name, found.scopes) == ("web", ("read",))
    assert secret not in (tmp_path / "tokens.json").read_text()
    assert stat.S_IMODE((tmp_path / "tokens.json").stat().st_mode) == 0o600
    assert tokens.find(secret[:-1]) is None
    with pytest.raises(ParameterError, match="already"):
        tokens.add("web", ["read"])
    tokens.remove("web")
    assert tokens.find(secret) is None
    with pytest.raises(ParameterError, match="no token 'web'"):
        tokens.remove("web")
