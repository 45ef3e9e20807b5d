"""Special-purpose blocks to their edges, and the IPv4 addresses that IPv6 ones carry."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from posttrain.guard.egress.addresses import literal, not_public, read_networks

BLOCKS = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
    "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
    "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32", "168.63.129.16/32", "2001::/23",
    "2001:db8::/32", "2002::/16", "3fff::/20",
)  # fmt: skip
"""Those whose neighbours are public, or another block."""

FAR = (
    "::/128", "::1/128", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/32", "fc00::/7",
    "fe80::/10", "fec0::/10", "ff00::/8",
)  # fmt: skip
"""Those that lie within what is not public anyway."""

BESIDE = (
    "1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
    "168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0",
    "191.255.255.255", "192.0.1.0", "192.0.1.255", "192.0.3.0", "192.88.98.255", "192.88.100.0",
    "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "198.51.99.255", "198.51.101.0",
    "203.0.112.255", "203.0.114.0", "223.255.255.255", "8.8.8.8", "2000::", "2001:200::", "2001:db7:ffff::",
    "2001:db9::", "2003::", "2001:4860:4860::8888", "2606:4700:4700::1111", "3ffe:ffff::", "3fff:1000::",
)  # fmt: skip
"""Public neighbours, and well-known public addresses."""

V4, V6 = st.ip_addresses(v=4), st.ip_addresses(v=6)


class TestBlocks:
    """Edges."""

    @pytest.mark.parametrize("block", BLOCKS + FAR)
    def test_a_block_is_not_public_from_its_first_to_its_last_address(self, block):
        network = ip_network(block)
        for address in (network[0], network[-1], network[network.num_addresses // 2]):
            assert not_public(str(address)).startswith(f"{address} is ")

    @pytest.mark.parametrize("address", BESIDE)
    def test_what_lies_beside_is_public(self, address):
        assert not_public(address) is None

    @pytest.mark.parametrize("text", ["", "a.test", "0x7f.1", "127.1", "010.0.0.1", "[::1]", "::1%", "1.2.3.4/32"])
    def test_what_is_no_address_is_not_public(self, text):
        assert not_public(text) == f"{text!r} is no address"

    def test_the_reason_names_the_block(self):
        assert not_public("127.0.0.1") == "127.0.0.1 is loopback (127.0.0.0/8)"
        assert not_public("fe80::1%eth0") == "fe80::1%eth0 is link-local (fe80::/10)"
        assert "2000::/3" in not_public("4000::1")


class TestPython:
    """Why the table is our own."""

    GLOBAL = (
        "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "fec0::1", "ff0e::1", "224.0.1.1", "192.88.99.1", "168.63.129.16",
        "::7f00:1", "4000::1", "::ffff:0:7f00:1",
    )  # fmt: skip

    @pytest.mark.parametrize("address", GLOBAL)
    def test_calls_these_global(self, address):
        assert ip_address(address).is_global
        assert not_public(address)

    @given(V4 | V6)
    @settings(max_examples=300)
    def test_calls_nothing_else_private_that_is_public_here(self, address):
        assert address.is_global or not_public(str(address))

    @given(V6.filter(lambda address: int(address) >> 125 != 1))
    def test_knows_no_bound_of_unicast(self, address):
        assert not_public(str(address))


def forms(inner):
    """IPv6 addresses that lead to an IPv4 one, bit by bit."""
    n = int(inner)
    teredo = (0x20010000 << 96) | (0xC0000201 << 64) | (0x8000F227 << 32) | (n ^ 0xFFFFFFFF)
    numbers = {
        "mapped": 0xFFFF << 32 | n,
        "NAT64": 0x64FF9B << 96 | n,
        "local NAT64": 0x64FF9B << 96 | 1 << 80 | n,
        "6to4": 0x2002 << 112 | n << 80 | 1,
        "Teredo": teredo,
    }
    return {name: str(IPv6Address(number)) for name, number in numbers.items()}


class TestForms:
    """IPv4 inside of IPv6."""

    def test_by_the_examples_of_the_standards(self):
        """RFC 6052, 2.4; RFC 3056, 2; RFC 4380, 4: port and address inverted, so 192.0.2.45 ends in 3fff:fdd2."""
        assert not_public("64:ff9b::192.0.2.33").endswith("of 192.0.2.33, which is for documentation (192.0.2.0/24)")
        assert not_public("2002:c000:201::1").endswith("of 192.0.2.1, which is for documentation (192.0.2.0/24)")
        assert " of 192.0.2.45," in not_public("2001:0:4136:e378:8000:63bf:3fff:fdd2")

    @given(V4)
    @example(IPv4Address("127.0.0.1"))
    @example(IPv4Address("169.254.169.254"))
    @example(IPv4Address("8.8.8.8"))
    @settings(max_examples=200)
    def test_each_is_refused_and_named_by_what_it_leads_to(self, inner):
        for name, address in forms(inner).items():
            reason = not_public(address)
            assert f"the {name} form (" in reason
            inside = not_public(str(inner))
            assert reason.endswith(inside.replace(" is ", ", which is ", 1) if inside else f" of {inner}")


class TestLiteral:
    """Addresses in their only notation."""

    @given(V4 | V6)
    def test_what_python_writes_is_canonical(self, address):
        assert literal(str(address)) == str(address)
        assert literal(str(address).upper()) == str(address)

    @given(V6.filter(lambda address: address.exploded != str(address)))
    def test_the_long_form_is_not(self, address):
        assert literal(address.exploded) is None

    @given(V4)
    def test_a_mapped_address_may_end_in_decimals(self, address):
        assert ip_address(literal(f"::ffff:{address}")) == IPv6Address(forms(address)["mapped"])

    @pytest.mark.parametrize(
        "text", ["fe80::1%eth0", "127.1", "127.0.0.01", "١.1.1.1", "64:ff9b::1.2.3.4", "a.test", "[::1]"]
    )
    def test_others_are_not(self, text):
        assert literal(text) is None


class TestNetworks:
    """Exceptions."""

    def test_of_both_kinds(self):
        assert read_networks(["10.1.0.0/16", "fd00::/8", "10.0.0.1"]) == tuple(
            map(ip_network, ("10.1.0.0/16", "fd00::/8", "10.0.0.1/32"))
        )

    @pytest.mark.parametrize("text", ["10.1.0.1/16", "10.1", "a.test", "", "10.1.0.0/33"])
    def test_what_is_none_is_named(self, text):
        with pytest.raises(ValueError, match=r"is no network .* such as 10\.1\.0\.0/16"):
            read_networks([text])
