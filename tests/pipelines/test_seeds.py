"""Seeds by name, and the latents they stand for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import ParameterError
from pipelines.generate import between, latent
from pipelines.seeds import LARGEST, MOST, check_range, seed_name, seed_names, seed_of

SEEDS = st.integers(0, LARGEST)
WANTED = [0.31889114, 1.26583433, 0.7577033, -0.75472438]


def normal_share(value: float) -> float:
    """The share of a standard normal distribution below a value."""
    return (1 + math.erf(value / math.sqrt(2))) / 2


@settings(deadline=None)
@given(SEEDS, SEEDS)
def test_names_of_seeds_lead_back_and_sort_as_the_numbers_do(one: int, other: int) -> None:
    assert seed_of(seed_name(one)) == one
    assert (seed_name(one) < seed_name(other)) == (one < other)


@pytest.mark.parametrize("name", ["photo.jpg", "seed-7.png", "seed-9999999999.png", "a/seed-0000000007.png", ""])
def test_a_name_that_is_no_seeds_is_refused(name: str) -> None:
    with pytest.raises(ParameterError, match="takes no picture"):
        seed_of(name)


@pytest.mark.parametrize(
    ("seed", "count", "said"),
    [
        (0, 0, "count must be 1 to 1,000,000, this one is 0"),
        (0, -3, "this one is -3"),
        (0, MOST + 1, "this one is 1,000,001"),
        (-1, 1, "this one is -1"),
        (LARGEST + 1, 1, "this one is 4,294,967,296"),
        (LARGEST, 2, "go beyond the last seed"),
    ],
)
def test_a_seed_or_count_out_of_range_is_one_clear_error(seed: int, count: int, said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        check_range(seed, count)


def test_the_last_seed_can_be_had() -> None:
    assert list(seed_names(1, LARGEST)) == ["seed-4294967295.png"]


@pytest.mark.parametrize("truncation", [None, 0.5, 2.0])
def test_latents_are_normal_and_cut_off_at_the_truncation(truncation: float | None) -> None:
    numbers = np.sort(latent(7, 20_000, truncation).astype(float))

    least = normal_share(-truncation) if truncation else 0.0
    expected = np.array([(normal_share(x) - least) / (1 - 2 * least) for x in numbers])
    there = (np.arange(20_000) + 0.5) / 20_000
    assert np.abs(expected - there).max() < 1.63 / math.sqrt(20_000)  # Kolmogorov and Smirnov's bound, 1 in 100
    assert truncation is None or np.abs(numbers).max() <= truncation


def test_a_seeds_latent_never_changes() -> None:
    """Drawn once with numpy 2.4's PCG64 and Python's NormalDist: another numpy must give the same pictures."""
    np.testing.assert_allclose(latent(7, 4), WANTED, rtol=1e-6)
    assert not np.array_equal(latent(7, 4), latent(8, 4))


@settings(deadline=None)
@given(SEEDS, st.floats(0.01, 10))
def test_a_smaller_truncation_brings_every_number_nearer_to_the_middle(seed: int, truncation: float) -> None:
    whole, cut = latent(seed, 16), latent(seed, 16, truncation)

    assert np.all(np.sign(whole) == np.sign(cut))
    assert np.all(np.abs(cut) <= np.abs(whole) * (1 + 1e-5) + 1e-6)


@settings(deadline=None)
@given(SEEDS, st.floats(0, 1))
def test_the_way_between_two_latents_keeps_to_their_plane_and_between_their_lengths(seed: int, share: float) -> None:
    one, other = latent(seed, 64), latent((seed + 1) % LARGEST, 64)

    found = between(one, other, share)

    lengths = sorted(float(np.linalg.norm(x)) for x in (one, other))
    assert lengths[0] * 0.95 <= np.linalg.norm(found) <= lengths[1] * 1.05
    np.testing.assert_allclose(between(one, other, 0.0), one, atol=1e-5)
    np.testing.assert_allclose(between(one, other, 1.0), other, atol=1e-5)
    np.testing.assert_allclose(between(one, one, share), one, atol=1e-5)
