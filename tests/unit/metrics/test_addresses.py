"""Which addresses a webhook may go to: no disguise of a private address passes."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stoker_metrics.notifications.addresses import NOT_PUBLIC_V4, NOT_PUBLIC_V6, AddressRules, is_public

PRIVATE_V4 = [network for network, _ in NOT_PUBLIC_V4]


def within_v4(network: IPv4Network) -> st.SearchStrategy[IPv4Address]:
    return st.integers(int(network.network_address), int(network.broadcast_address)).map(IPv4Address)


def within_v6(network: IPv6Network) -> st.SearchStrategy[IPv6Address]:
    return st.integers(int(network.network_address), int(network.broadcast_address)).map(IPv6Address)


private_v4 = st.sampled_from(PRIVATE_V4).flatmap(within_v4)
public_v4 = st.ip_addresses(v=4).filter(lambda address: not any(address in network for network in PRIVATE_V4))


def embedded(address: IPv4Address, prefix: str) -> IPv6Address:
    return IPv6Address(int(IPv6Address(prefix)) | int(address))


@given(private_v4)
def test_no_private_address_is_public(address: IPv4Address) -> None:
    assert not is_public(address)


@given(st.sampled_from([network for network, _ in NOT_PUBLIC_V6]).flatmap(within_v6))
def test_no_special_address_of_version_6_is_public(address: IPv6Address) -> None:
    assert not is_public(address)


@given(st.ip_addresses())
def test_what_python_knows_to_be_special_is_not_public(address: IPv4Address | IPv6Address) -> None:
    is_special = (
        address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
    )
    assert not (is_special and is_public(address) and address not in ip_network("64:ff9b::/96"))


@given(st.one_of(private_v4, public_v4))
def test_an_ipv4_address_in_an_ipv6_one_is_judged_by_what_it_leads_to(address: IPv4Address) -> None:
    assert is_public(embedded(address, "64:ff9b::")) == is_public(address)
    # No name in the public DNS has these, so nothing is lost by refusing them all.
    assert not is_public(embedded(address, "::ffff:0:0"))
    assert not is_public(embedded(address, "::"))
    assert not is_public(embedded(address, "64:ff9b:1::"))
    assert not is_public(IPv6Address((0x2002 << 112) | (int(address) << 80)))


@given(st.ip_addresses(), st.one_of(private_v4, st.ip_addresses(v=6)))
@example(IPv6Address("64:ff9b::"), IPv4Address("0.0.0.0"))
def test_what_the_operator_closes_is_closed_in_every_disguise(
    address: IPv4Address | IPv6Address, closed: IPv4Address | IPv6Address
) -> None:
    rules = AddressRules(allowed=(ip_network("0.0.0.0/0"), ip_network("::/0")), refused=(ip_network(closed),))
    assert rules.permit(address) == (address != closed and not _leads_to(address, closed))
    assert not rules.permit(closed)
    if isinstance(closed, IPv4Address):
        assert not rules.permit(embedded(closed, "::ffff:0:0"))
        assert not rules.permit(embedded(closed, "64:ff9b::"))


def _leads_to(address: IPv4Address | IPv6Address, closed: IPv4Address | IPv6Address) -> bool:
    if not isinstance(address, IPv6Address):
        return False
    translated = IPv4Address(int(address) & 0xFFFFFFFF) if address in ip_network("64:ff9b::/96") else None
    return closed in (address.ipv4_mapped, address.sixtofour, *(address.teredo or ()), translated)


@given(private_v4, st.ip_addresses())
def test_what_the_operator_opens_is_open_as_it_is_written_and_nothing_else(
    opened: IPv4Address, other: IPv4Address | IPv6Address
) -> None:
    rules = AddressRules(allowed=(ip_network(opened),))
    assert rules.permit(opened)
    assert rules.permit(other) == (other == opened or is_public(other))
    assert not rules.permit(embedded(opened, "::ffff:0:0"))


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.1", "169.254.169.254", "100.100.100.200", "192.0.0.192", "0.0.0.0", "224.0.0.1"),
        *("255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "2600::1%eth0", "fc00::1", "fd00:ec2::254"),
        *("ff02::1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001::1", "fec0::1"),
    ],
)
def test_well_known_bad_ones(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "140.82.112.3", "2606:4700::1111", "64:ff9b::101:101"])
def test_well_known_good_ones(address: str) -> None:
    assert is_public(ip_address(address))
