"""Every address of an answer must be admissible, and nothing is looked up that was not asked for."""

import asyncio
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.guard.egress.addresses import not_public
from posttrain.guard.egress.hosts import Refused
from posttrain.guard.egress.resolver import StaticResolver, SystemResolver, resolve

HOST = "api.example.com"


def resolved(resolver, host=HOST, networks=(), seconds=1.0):
    return asyncio.run(resolve(resolver, host, networks, seconds))


def refusal(*args, **options):
    with pytest.raises(Refused) as caught:
        resolved(*args, **options)
    assert str(caught.value).endswith("nothing was sent.")
    return str(caught.value)


class TestAnswers:
    """What a name leads to."""

    def test_public_addresses_are_given_once_each_in_their_order(self):
        assert resolved(StaticResolver({HOST: ["8.8.8.8", "2606:4700::1", "8.8.8.8"]})) == ["8.8.8.8", "2606:4700::1"]

    @pytest.mark.parametrize(
        "bad", ["127.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "fe80::1%2", "127.1", ""]
    )
    @pytest.mark.parametrize("place", [0, 1, 2])
    def test_one_address_inside_refuses_the_whole_name(self, bad, place):
        answer = ["8.8.8.8", "1.1.1.1"]
        answer.insert(place, bad)
        because = refusal(StaticResolver({HOST: answer}))
        assert not_public(bad) in because
        assert HOST in because

    ADDRESSES = st.sampled_from(["8.8.8.8", "1.1.1.1", "10.1.2.3", "10.2.0.1", "127.0.0.1", "fd00::1", "2606:4700::1"])

    @given(st.lists(ADDRESSES, min_size=1), st.sets(st.sampled_from(["10.1.0.0/16", "10.0.0.0/8", "fd00::/8"])))
    @settings(max_examples=60, deadline=None)
    def test_all_or_nothing(self, answer, networks):
        """What is admissible, written out by hand for these addresses."""
        inside = {
            "10.1.2.3": {"10.1.0.0/16", "10.0.0.0/8"},
            "10.2.0.1": {"10.0.0.0/8"},
            "127.0.0.1": set(),
            "fd00::1": {"fd00::/8"},
        }
        fine = all(address not in inside or inside[address] & networks for address in answer)
        resolver = StaticResolver({HOST: answer})
        if fine:
            assert resolved(resolver, networks=tuple(networks)) == list(dict.fromkeys(answer))
        else:
            refusal(resolver, networks=tuple(networks))

    def test_a_network_lets_no_other_form_of_its_addresses_pass(self):
        refusal(StaticResolver({HOST: ["::ffff:10.1.0.1"]}), networks=("10.1.0.0/16",))

    def test_an_answer_may_change_and_each_is_checked(self):
        resolver = StaticResolver({HOST: [["8.8.8.8"], ["127.0.0.1"], ["1.1.1.1"]]})
        assert resolved(resolver) == ["8.8.8.8"]
        refusal(resolver)
        assert resolved(resolver) == resolved(resolver) == ["1.1.1.1"]
        assert resolver.asked == [HOST] * 4


class TestAddresses:
    """Hosts that are addresses."""

    @pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1"])
    def test_one_is_not_looked_up(self, address):
        resolver = StaticResolver({})
        assert resolved(resolver, address) == [address]
        assert resolver.asked == []

    def test_one_is_checked(self):
        resolver = StaticResolver({})
        assert "loopback" in refusal(resolver, "127.0.0.1")
        assert "destinations.networks" in refusal(resolver, "::1")
        assert resolved(resolver, "127.0.0.1", ("127.0.0.0/8",)) == ["127.0.0.1"]
        assert resolver.asked == []


class TestFailures:
    """Fail closed."""

    def test_an_unknown_name(self):
        assert f"{HOST} could not be resolved: the name is not known;" in refusal(StaticResolver({}))

    @pytest.mark.parametrize("answer", [[], [[]]])
    def test_no_address(self, answer):
        assert "no address" in refusal(StaticResolver({HOST: answer}))

    def test_a_resolver_that_fails(self):
        async def broken(host):
            raise OSError("no route to the name server")

        assert "could not be resolved: no route to the name server;" in refusal(broken)

    def test_a_resolver_that_does_not_answer(self):
        async def silent(host):
            await asyncio.Event().wait()

        assert "no answer within 0.01 seconds" in refusal(silent, seconds=0.01)

    def test_a_resolver_with_a_bug_is_not_taken_for_a_missing_name(self):
        async def wrong(host):
            raise KeyError(host)

        with pytest.raises(KeyError):
            resolved(wrong)


class TestSystem:
    """The system's resolver; no packet leaves the machine."""

    def test_localhost_is_found_and_refused(self):
        assert "loopback" in refusal(SystemResolver(), "localhost")
        assert set(resolved(SystemResolver(), "localhost", ("127.0.0.0/8", "::1/128"))) <= {"127.0.0.1", "::1"}

    def test_it_asks_the_loop_and_gives_all_addresses(self, monkeypatch):
        asked = []

        async def run():
            async def getaddrinfo(host, port, **options):
                asked.append((host, port))
                return [
                    (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 0)),
                    (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2606:4700::1", 0, 0, 0)),
                ]

            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
            return await resolve(SystemResolver(), HOST, (), 1.0)

        assert asyncio.run(run()) == ["8.8.8.8", "2606:4700::1"]
        assert asked == [(HOST, None)]

    def test_a_name_that_nobody_has_is_refused(self, monkeypatch):
        def getaddrinfo(*args, **options):
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        assert "Temporary failure in name resolution" in refusal(SystemResolver())
