"""Which addresses a webhook may be sent to. Pure.

A table of our own, not `ipaddress.is_global`: that calls multicast global, judges mapped and translated addresses
differently from one version of Python to the next, and knows no 6to4.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

NOT_PUBLIC_V4: tuple[tuple[IPv4Network, str], ...] = tuple(
    (IPv4Network(network), why)
    for network, why in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by carriers, and metadata services of some clouds"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local, and metadata services of most clouds"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "protocol assignments, and metadata services of some clouds"),
        ("192.0.2.0/24", "documentation"),
        ("192.31.196.0/24", "AS112"),
        ("192.52.193.0/24", "AMT relays"),
        ("192.88.99.0/24", "6to4 relays"),
        ("192.168.0.0/16", "private"),
        ("192.175.48.0/24", "AS112"),
        ("198.18.0.0/15", "benchmarks"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved, and broadcast"),
    )
)

PUBLIC_V6 = IPv6Network("2000::/3")
"""All that is given out to the public. Loopback, mapped, unique local, link-local, site-local, multicast: outside."""

NOT_PUBLIC_V6: tuple[tuple[IPv6Network, str], ...] = tuple(
    (IPv6Network(network), why)
    for network, why in (
        ("2001::/23", "protocol assignments: Teredo holds an IPv4 address, ORCHID leads nowhere"),
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4: holds an IPv4 address"),
        ("2620:4f:8000::/48", "AS112"),
        ("3fff::/20", "documentation"),
    )
)

NAT64 = IPv6Network("64:ff9b::/96")
"""A host with IPv6 alone reaches the IPv4 address in the last 32 bits by this."""


@dataclass(frozen=True, slots=True)
class AddressRules:
    """`allowed` are networks that the operator opens, `refused` those that are closed besides. `refused` wins."""

    allowed: tuple[Network, ...] = ()
    refused: tuple[Network, ...] = ()

    def permit(self, address: Address) -> bool:
        """Whether a webhook may go there."""
        forms = tuple(_forms(address))
        if any(_is_within(form, self.refused) for form in forms):
            return False
        # What is allowed is allowed as it is written, not in disguise.
        return _is_within(address, self.allowed) or is_public(address)


def is_public(address: Address) -> bool:
    """Whether the address is one that anybody in the internet may have, and no other in disguise."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network, _ in NOT_PUBLIC_V4)
    if address.scope_id is not None:
        return False
    if address in NAT64:
        return is_public(_last_four_bytes(address))
    return address in PUBLIC_V6 and not any(address in network for network, _ in NOT_PUBLIC_V6)


def _forms(address: Address) -> Iterable[Address]:
    yield address
    if isinstance(address, IPv6Address):
        bare = ip_address(address.packed)
        yield bare
        embedded = (address.ipv4_mapped, address.sixtofour, *(address.teredo or ()))
        yield from (form for form in embedded if form is not None)
        if bare in NAT64:
            yield _last_four_bytes(address)


def _last_four_bytes(address: IPv6Address) -> IPv4Address:
    return IPv4Address(address.packed[-4:])


def _is_within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
