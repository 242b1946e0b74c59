"""Which addresses are public: one function over the IANA special-purpose address registries.

Python's own `is_global` follows the registries of the year in which it was released, and knows few of the forms in
which an IPv6 address carries an IPv4 one. The tables below are those of
https://www.iana.org/assignments/iana-ipv4-special-registry and `…/iana-ipv6-special-registry`; a block that is listed
there as globally reachable inside one that is not (192.0.0.9, 2001:20::/28) serves no web page and stays refused.
"""

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_SPECIAL_4 = [
    ipaddress.IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private use
        "100.64.0.0/10",  # shared address space
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link local
        "172.16.0.0/12",  # private use
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays, deprecated
        "192.168.0.0/16",  # private use
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and the broadcast address
    )
]
_UNICAST_6 = ipaddress.IPv6Network("2000::/3")
"""All that is given out as global unicast. Loopback, local, multicast, SRv6 and site-local blocks lie outside."""
_SPECIAL_6 = [
    ipaddress.IPv6Network(block)
    for block in (
        "2001::/23",  # protocol assignments: Teredo, benchmarking, ORCHID, AMT
        "2001:db8::/32",  # documentation
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
]
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_6TO4 = ipaddress.IPv6Network("2002::/16")
_ISATAP = {0x0000_5EFE, 0x0200_5EFE}
"""The third quarter of an address whose last is an IPv4 address (RFC 5214)."""


def is_public(address: Address) -> bool:
    """Tell whether an address, and the IPv4 address that it may carry, is one of the public internet."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in block for block in _SPECIAL_4)
    carried = carried_ipv4(address)
    if carried is not None and not is_public(carried):
        return False
    if address in _MAPPED or address in _NAT64:
        return True
    return address in _UNICAST_6 and not any(address in block for block in _SPECIAL_6)


def meant(address: Address) -> Address:
    """Return the IPv4 address that the system connects to in place of an IPv6 address, else the address itself."""
    if isinstance(address, ipaddress.IPv6Address) and (address in _MAPPED or address in _NAT64):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def carried_ipv4(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address inside an IPv6 address, where it has the form of one that carries any."""
    number = int(address)
    if address in _6TO4:
        return ipaddress.IPv4Address(number >> 80 & 0xFFFF_FFFF)
    if address in _MAPPED or address in _NAT64 or number >> 32 & 0xFFFF_FFFF in _ISATAP:
        return ipaddress.IPv4Address(number & 0xFFFF_FFFF)
    return None
