# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from threading import Event, Timer
from threading import enumerate as enumerate_threads
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqscribe.errors import Cancelled, CancelReason, ErrorCode, PermanentError
from stages.fetch.address import AddressPolicy, spoken_text
from stages.fetch.resolve import Resolver
from stages.ports import Cancellation

PUBLIC = ["93.184.216.34", "1.1.1.1", "2606:4700::1111", "64:ff9b::1.1.1.1", "::ffff:1.1.1.1"]
PRIVATE = ["10.0.0.1", "172.31.255.255", "192.168.1.1", "127.0.0.1", "100.64.0.1", "::1", "fc00::1", "::ffff:10.0.0.1",
           "64:ff9b::c0a8:101", "::127.0.0.1", "2606:4700::5efe:c0a8:101"]  # fmt: skip
NEVER = ["169.254.169.254", "169.254.170.2", "fe80::1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe",
         "2002:a9fe:a9fe::", "2002:0101:0101::1", "2002:0a00:0001::1", "fec0::1",
         "fd00:ec2::254", "fd00:ec2::123", "100.100.100.200", "168.63.129.16", "192.0.0.192", "0.0.0.1", "::",
         "224.0.0.1", "ff02::1", "255.255.255.255", "240.0.0.1", "198.18.0.1", "203.0.113.1", "2001:db8::1",
         "2001:0:4136:e378:8000:63bf:3fff:fdd2", "64:ff9b:1::a9fe:a9fe", "5f00::1", "4000::1"]  # fmt: skip


def answers(*addresses: str) -> Any:
    """A resolver with these answers, which counts how often it is asked."""

    def resolve(host: str, port: int, type: int) -> list[Any]:  # noqa: A002 - getaddrinfo's own name
        resolve.asked += 1  # type: ignore[attr-defined]
        return [(socket.AF_INET6 if ":" in text else socket.AF_INET, type, 6, "", (text, port)) for text in addresses]

    resolve.asked = 0  # type: ignore[attr-defined]
    return resolve


@pytest.mark.parametrize("address", PUBLIC)
def test_the_internet_is_allowed(address: str) -> None:
    assert AddressPolicy(allow_private=False).refusal(ipaddress.ip_address(address)) is None


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_allowed_on_demand_alone(address: str) -> None:
    assert AddressPolicy(allow_private=False).refusal(ipaddress.ip_address(address))
    assert AddressPolicy(allow_private=True).refusal(ipaddress.ip_address(address)) is None


@pytest.mark.parametrize("address", NEVER)
@pytest.mark.parametrize("allow_private", [False, True])
def test_metadata_and_reserved_addresses_are_never_allowed(address: str, allow_private: bool) -> None:
    assert AddressPolicy(allow_private).refusal(ipaddress.ip_address(address))


@given(st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address))
def test_an_ipv4_address_gains_nothing_by_being_wrapped(address: ipaddress.IPv4Address) -> None:
    policy = AddressPolicy(allow_private=False)
    number = int(address)
    wrapped = [
        ipaddress.IPv6Address((0xFFFF << 32) | number),
        ipaddress.IPv6Address((0x0064FF9B << 96) | number),
        ipaddress.IPv6Address((0x2002 << 112) | (number << 80) | 1),
    ]
    if policy.refusal(address):
        assert all(policy.refusal(outer) for outer in wrapped)


def test_one_internal_answer_spoils_a_name() -> None:
    policy = AddressPolicy(allow_private=False, resolve=answers("93.184.216.34", "10.0.0.1"))
    with pytest.raises(PermanentError) as caught:
        policy.connect("rebinding.test", 80, 1)
    assert caught.value.code == ErrorCode.SOURCE_BLOCKED
    assert "10.0.0.1" not in caught.value.message


def test_a_name_is_resolved_once_and_the_checked_address_connected_to() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        resolve = answers("127.0.0.1")
        policy = AddressPolicy(allow_private=True, resolve=resolve)
        with policy.connect("media.test", port, 1) as connection:
            assert connection.getpeername() == ("127.0.0.1", port)
        assert resolve.asked == 1


def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    with socket.create_server(("127.0.0.2", 0)) as server:
        port = server.getsockname()[1]
        policy = AddressPolicy(allow_private=True, resolve=answers("127.0.0.1", "127.0.0.2"))
        with policy.connect("media.test", port, 1) as connection:
            assert connection.getpeername()[0] == "127.0.0.2"


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server on 127.0.0.1 whose backlog is full: whoever connects hears nothing."""
    with socket.socket() as server, ExitStack() as crowd:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        port = server.getsockname()[1]
        for _ in range(8):
            guest = crowd.enter_context(socket.socket())
            guest.settimeout(0)
            guest.connect_ex(("127.0.0.1", port))
        yield port


def test_many_dead_addresses_take_no_longer_than_one_and_signs_of_life_are_given(silent: int) -> None:
    policy = AddressPolicy(allow_private=True, resolve=answers(*["127.0.0.1"] * 40))
    signs: list[float] = []
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        policy.connect("media.test", silent, 1.5, lambda: signs.append(time.monotonic()))
    assert 1.4 < time.monotonic() - began < 3
    gaps = [later - earlier for earlier, later in pairwise(signs)]
    assert len(gaps) > 4
    assert max(gaps) < 1


def test_a_cancellation_is_heard_between_dead_addresses(silent: int) -> None:
    cancellation = Cancellation()
    policy = AddressPolicy(allow_private=True, resolve=answers(*["127.0.0.1"] * 40))
    Timer(0.3, cancellation.cancel, [CancelReason.SHUTDOWN]).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        policy.connect("media.test", silent, 30, cancellation.check)
    assert time.monotonic() - began < 5


def test_a_silent_address_does_not_hide_the_next_one(silent: int) -> None:
    with socket.create_server(("127.0.0.2", silent)) as server:
        policy = AddressPolicy(allow_private=True, resolve=answers("127.0.0.1", "127.0.0.2"))
        began = time.monotonic()
        with policy.connect("media.test", silent, 20) as connection:
            assert connection.getpeername() == server.getsockname()
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("ending", [TimeoutError, Cancelled])
def test_a_name_server_that_hangs_is_not_waited_for(ending: type[Exception]) -> None:
    over, signs = Event(), []

    def hang(*_: Any, **__: Any) -> list[Any]:
        over.wait(30)
        return []

    def check() -> None:
        signs.append(1)
        if ending is Cancelled and len(signs) > 2:
            raise Cancelled(CancelReason.LEASE_LOST)

    policy = AddressPolicy(allow_private=False, resolve=hang)
    began = time.monotonic()
    with pytest.raises(ending):
        policy.connect("media.test", 80, 1 if ending is TimeoutError else 30, check)
    assert len(signs) > 2
    assert time.monotonic() - began < 10
    over.set()


def test_a_name_server_that_hangs_costs_a_bounded_number_of_threads() -> None:
    over = Event()
    resolver = Resolver(lambda *_, **__: [over.wait(30)], most=3)
    for _ in range(5):
        with pytest.raises(TimeoutError):
            resolver.answers("media.test", 80, time.monotonic() + 0.05, lambda: None)
    assert sum(thread.name == "resolver" for thread in enumerate_threads()) <= 3
    over.set()
    # And once it has recovered, names are looked up again
    assert resolver.answers("media.test", 80, time.monotonic() + 10, lambda: None) is not None


def test_whether_anybody_answers_at_an_address() -> None:
    policy = AddressPolicy(allow_private=True)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert policy.answers("127.0.0.1", port, 1)
        # But where it may not go, it has not been
        assert not AddressPolicy(allow_private=False).answers("127.0.0.1", port, 1)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        assert not policy.answers("127.0.0.1", nobody.getsockname()[1], 1)


@pytest.mark.parametrize("url", ["https://host/a", "http://host:8080/", "http://host:80", "https://host:50000/"])
def test_web_ports_and_high_ports_may_be_asked(url: str) -> None:
    assert AddressPolicy(allow_private=False).check_url(url).host == "host"


@pytest.mark.parametrize("url", ["http://host:22/", "http://host:25", "https://host:993/", "http://host:6000/"])
def test_ports_of_other_services_may_not(url: str) -> None:
    with pytest.raises(PermanentError) as caught:
        AddressPolicy(allow_private=True).check_url(url)
    assert caught.value.code == ErrorCode.SOURCE_BLOCKED


def test_what_others_say_is_told_without_queries() -> None:
    said = spoken_text("Unable to open 'https://u:p@host/v?sig=abc' (caused by https://host/w?x=1#y)")
    assert said == "Unable to open 'https://host/v' (caused by https://host/w"
