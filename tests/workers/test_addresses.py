"""Which addresses may be reached: the registries of special addresses (RFC 6890 and its successors), and names."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from workers.addresses import is_allowed, resolve
from workers.errors import AddressError


@pytest.mark.parametrize("text", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses_are_allowed(text: str) -> None:
    assert is_allowed(ip_address(text), ())


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "240.0.0.1", "::", "::1", "fe80::1", "fc00::1",
        "fd12:3456::1", "ff02::1", "2001:db8::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1",
        "64:ff9b::a00:1", "2002:7f00:1::", "2002:a00:1::1", "2001:0:4136:e378:8000:63bf:80ff:fffe",
    ],
)  # fmt: skip
def test_private_reserved_and_disguised_addresses_are_not(text: str) -> None:
    assert not is_allowed(ip_address(text), ())


def test_a_network_that_is_allowed_is_reached_in_any_disguise_and_no_other() -> None:
    networks = (ip_network("10.1.0.0/16"),)

    assert is_allowed(ip_address("10.1.2.3"), networks)
    assert is_allowed(ip_address("::ffff:10.1.2.3"), networks)
    assert not is_allowed(ip_address("10.2.2.3"), networks)


def test_a_name_without_an_address_says_so() -> None:
    with pytest.raises(AddressError, match=r"no-such-host\.invalid has no address"):
        resolve("no-such-host.invalid", 80, ())


@pytest.mark.parametrize("host", ["localhost", "2130706433", "0x7f000001", "127.1", "017700000001"])
def test_other_ways_to_write_this_machine_are_seen_through(host: str) -> None:
    with pytest.raises(AddressError):
        resolve(host, 80, ())
