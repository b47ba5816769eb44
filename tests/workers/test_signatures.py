"""How webhooks are signed, against the published example, and which URLs may have one."""

from __future__ import annotations

from typing import Any

import pytest

from workers.errors import AddressError
from workers.settings import Settings
from workers.webhooks import check_webhook, sign, verify

# the example of the Standard Webhooks specification and of its libraries' tests
EXAMPLE = {
    "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "timestamp": 1614265330,
    "body": b'{"test": 2432232314}',
}
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_signature_is_that_of_the_standards_example() -> None:
    assert sign(**EXAMPLE) == SIGNATURE


@pytest.mark.parametrize("change", [{"body": b'{"test": 2432232315}'}, {"timestamp": 1614265331}, {"id": "msg_other"}])
def test_a_signature_is_another_one_for_anything_else(change: dict[str, Any]) -> None:
    assert sign(**{**EXAMPLE, **change}) != SIGNATURE


def headers(**change: str) -> dict[str, str]:
    named = {"id": EXAMPLE["id"], "timestamp": str(EXAMPLE["timestamp"]), "signature": SIGNATURE, **change}
    return {f"Webhook-{name.title()}": str(value) for name, value in named.items()}


def test_a_receiver_takes_what_is_signed_and_new_whatever_the_headers_case() -> None:
    verify(EXAMPLE["secret"], headers(), EXAMPLE["body"], now=1614265400.0)
    verify(EXAMPLE["secret"], headers(signature=f"v1,other {SIGNATURE}"), EXAMPLE["body"], now=1614265400.0)


@pytest.mark.parametrize(
    ("change", "now", "why"),
    [
        ({}, 1614265330 + 301.0, "too old"),
        ({}, 1614265330 - 301.0, "in the future"),
        ({"signature": "v1,"}, 1614265330.0, "another one"),
        ({"signature": ""}, 1614265330.0, "another one"),
        ({"timestamp": "soon"}, 1614265330.0, "no number"),
    ],
)
def test_a_receiver_refuses_what_is_old_or_signed_otherwise(change: dict[str, str], now: float, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        verify(EXAMPLE["secret"], headers(**change), EXAMPLE["body"], now=now)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/", "example.org/hook", "http://", "http://user:pass-word@example.org/", "http://10.0.0.1/",
        "http://[::ffff:10.0.0.1]/", "http://169.254.169.254/latest", "http://example.org/a b", "http://example.org:x/",
        "http://example.org/" + "a" * 2048, "http://example.org/ä", "http://example.org/\r\nX: y", "http://[::1/",
    ],
)  # fmt: skip
def test_a_url_that_can_be_no_webhook_is_refused_when_the_job_is_submitted(url: str) -> None:
    with pytest.raises(AddressError) as refused:
        check_webhook(url, Settings())

    assert "pass-word" not in str(refused.value)


def test_a_public_url_and_none_are_taken() -> None:
    check_webhook("https://example.org/hook?key=1", Settings())
    check_webhook("", Settings())
