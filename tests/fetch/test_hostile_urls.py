# SPDX-License-Identifier: Apache-2.0
"""What strangers write to get at what is not theirs is `source_blocked`, before anybody is asked for anything."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import pytest

from sqscribe.errors import ErrorCode, PermanentError
from stages.fetch import Fetcher, FetchLimits, FetchRequest
from stages.fetch.address import AddressPolicy
from stages.ports import Cancellation, ScratchReserve

#: Metadata services, in all the clothes of IPv6, and by their names.
METADATA = (
    "http://169.254.169.254/latest/meta-data/",
    "http://169.254.170.2/v2/credentials",
    "http://169.254.42.42/",
    "http://[::ffff:169.254.169.254]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[0:0:0:0:0:ffff:a9fe:a9fe]/",
    "http://[::169.254.169.254]/",
    "http://[64:ff9b::169.254.169.254]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[64:ff9b:1::a9fe:a9fe]/",
    "http://[2002:a9fe:a9fe::1]/",
    "http://[2001:0:4136:e378:8000:63bf:5601:5601]/",
    "http://[2606:4700::5efe:a9fe:a9fe]/",
    "http://[2606:4700::200:5efe:169.254.169.254]/",
    "http://[::ffff:0:169.254.169.254]/",
    "http://[fe80::a9fe:a9fe]/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://[fd00:ec2::23]/v1/credentials",
    "http://[FD00:0EC2:0:0:0:0:0:254]/",
    "http://[fd20:ce::254]/",
    "http://168.63.129.16/",
    "http://100.100.100.200/latest/meta-data/",
    "http://192.0.0.192/",
    "http://metadata.google.internal/computeMetadata/v1/",
    "http://METADATA.google.internal./",
    "http://metadata.goog/",
    "http://metadata/",
    "http://instance-data/",
    "http://169.254.169.254.nip.io/",
    "http://www.169-254-169-254.sslip.io/",
    "http://good.test@169.254.169.254/",
    "https://user:p%40ss@169.254.169.254:443/",
)
#: Somebody's own machine or network.
PRIVATE = (
    "http://127.0.0.1/",
    "http://127.0.0.1:8080/",
    "https://127.1.2.3/",
    "http://10.0.0.1/",
    "http://10.255.255.255:8443/",
    "http://172.16.0.1/",
    "http://172.31.255.254/",
    "http://192.168.0.1/",
    "http://100.64.0.1/",
    "http://[::1]/",
    "http://[0000:0000:0000:0000:0000:0000:0000:0001]/",
    "http://[fc00::1]/",
    "http://[fd12:3456:789a::1]/",
    "http://localhost/",
    "http://LOCALHOST:8080/",
    "http://localhost./",
    "http://localhost.localdomain/",
    "http://anything.localhost/",
    "http://ip6-localhost/",
    "http://router.lan/",
    "http://localtest.me/",
    "http://10.0.0.1.nip.io/",
    "http://www.lvh.me/",
    "http://printer.local/",
    "http://host.docker.internal/",
    "http://kubernetes.default.svc/",
    "http://kubernetes.default.svc.cluster.local/",
    "http://1.0.0.127.in-addr.arpa/",
    "http://good.test@127.0.0.1/",
    "http://good.test:80@127.0.0.1:80/",
    "http://good.test%23@127.0.0.1/",
    "http://a@b@127.0.0.1/",
    "http://@127.0.0.1/",
)
#: Addresses that lead nowhere, or to everybody.
RESERVED = (
    "http://0.0.0.0/",
    "http://999.0.0.1.nip.io/",
    "http://0.1.2.3/",
    "http://[::]/",
    "http://224.0.0.1/",
    "http://239.255.255.250/",
    "http://[ff02::1]/",
    "http://255.255.255.255/",
    "http://240.0.0.1/",
    "http://192.0.2.1/",
    "http://198.51.100.7/",
    "http://203.0.113.1/",
    "http://198.18.0.1/",
    "http://192.88.99.1/",
    "http://[2001:db8::1]/",
    "http://[3fff::1]/",
    "http://[5f00::1]/",
    "http://[100::1]/",
    "http://[4000::1]/",
    "http://[fec0::1]/",
    "http://[2002:0101:0101::1]/",
)
#: Hosts that programs read in different ways.
WRITTEN_ODDLY = (
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0X7F.1/",
    "http://0x7f.0.0.0x1/",
    "http://017700000001/",
    "http://0177.0.0.1/",
    "http://127.1/",
    "http://127.0.1/",
    "http://0/",
    "http://127.0.0.1./",
    "http://169.254.169.254./",
    "http://127.0.0.01/",
    "http://127.0.0.0x1/",
    "http://256.256.256.256/",
    "http://1.2.3.4.5/",
    "http://good.test.0x7f/",
    "http://\uff11\uff12\uff17.\uff10.\uff10.\uff11/",
    "http://127\u30020\u30020\u30021/",
    "http://127\uff0e0\uff0e0\uff0e1/",
    "http://127.0.0\u00ad.1/",
    "http://\u2460\u2461\u2466.0.0.1/",
    "http://\uff4c\uff4f\uff43\uff41\uff4c\uff48\uff4f\uff53\uff54/",
    "http://%31%32%37.0.0.1/",
    "http://127%2e0%2e0%2e1/",
    "http://%6cocalhost/",
    "http://127.0.0.1%00.good.test/",
    "http://[::1%25lo]/",
    "http://[fe80::1%25eth0]/",
    "http://[fe80::1%eth0]/",
    "http://good.test\\@127.0.0.1/",
    "http://127.0.0.1\\@good.test/",
    "http://127.0.0.1:80\\@good.test/",
    "http:\\\\127.0.0.1/",
    "http:/\\127.0.0.1/",
    "http:/127.0.0.1/",
    "http:127.0.0.1/",
    "http://127.0.0.1;good.test/",
    "http://good.test,127.0.0.1/",
    "http://127.0.0.1&good.test/",
    "http://localhost(/",
    "http://./",
    "http://../",
    "http://127.0.0.1../",
    "http://00000000000127.0.0.1/",
    "http://127.0.0.1\t/",
    "http://127.0.\n0.1/",
    "http://good.test\r\n@127.0.0.1/",
    "http://127.0.0.1 /",
    "http://good.test &@127.0.0.1/",
    "http://127.0.0.1\x00/",
)
#: Services that are not the web's, wherever they are.
PORTS = tuple(
    f"http://93.184.216.34:{port}/"
    for port in (
        *(0, 1, 21, 22, 23, 25, 53, 110, 111, 135, 139, 143, 389, 445, 465, 587, 636, 873, 993, 995),
        *(1433, 1521, 2049, 2181, 2375, 2376, 2379, 3306, 3389, 5432, 5672, 5900, 6000, 6379, 6443, 6667),
        *(9092, 9200, 9300, 10080, 10250, 11211, 27017),
    )
)
#: Other ways than the web's.
SCHEMES = (
    "gopher://127.0.0.1:6379/_INFO",
    "ftp://127.0.0.1/a.wav",
    "file:///etc/passwd",
    "dict://127.0.0.1:11211/stats",
    "ldap://127.0.0.1/",
    "javascript://good.test/%0aalert(1)",
    "jar:http://good.test!/",
)

#: Refused whatever the settings say.
ALWAYS_REFUSED = METADATA + RESERVED + WRITTEN_ODDLY + PORTS
HOSTILE = ALWAYS_REFUSED + PRIVATE + SCHEMES


def nobody(*_args: Any, **_more: Any) -> NoReturn:
    raise AssertionError("a name server was asked")


@cache
def fetcher(*, allow_private: bool) -> Fetcher:
    policy = AddressPolicy(allow_private, resolve=nobody)
    return Fetcher(FetchLimits(max_bytes=1, attempts=1), lambda: pytest.fail("S3 was asked"), policy=policy)


def refusal(url: str, folder: Path, reserve: ScratchReserve, *, allow_private: bool) -> PermanentError:
    with pytest.raises(PermanentError) as caught:
        fetcher(allow_private=allow_private).fetch(FetchRequest(url), folder, reserve, Cancellation())
    return caught.value


def test_there_are_enough_of_them() -> None:
    assert len(set(HOSTILE)) == len(HOSTILE) >= 80


@pytest.mark.parametrize("url", HOSTILE)
def test_it_is_blocked(url: str, tmp_path: Path, reserve: ScratchReserve) -> None:
    error = refusal(url, tmp_path, reserve, allow_private=False)
    assert error.code is ErrorCode.SOURCE_BLOCKED
    assert error.message.isprintable()
    assert "p%40ss" not in error.message


@pytest.mark.parametrize("url", ALWAYS_REFUSED)
def test_some_are_blocked_whatever_the_settings_say(url: str, tmp_path: Path, reserve: ScratchReserve) -> None:
    assert refusal(url, tmp_path, reserve, allow_private=True).code is ErrorCode.SOURCE_BLOCKED


HONEST = ("https://good.test./a", "http://xn--bcher-kva.test/", "http://b\u00fccher.test/", "http://a_b.test/",
          "http://u:p@1.1.1.1:8080/", "http://[2606:4700::1111]/", "http://1.1.1.1.good.test/", "http://0x7f.good.test/",
          "http://1.1.1.1.nip.io/", "http://nip.io/",
          "http://localhost.good.test/", "http://good.test/a b\\c")  # fmt: skip


@pytest.mark.parametrize("url", HONEST)
def test_honest_ones_are_not(url: str) -> None:
    parsed = AddressPolicy(allow_private=False, resolve=nobody).check_url(url)
    assert parsed.host
    assert not parsed.host.endswith(".")


#: A program that unshares its network, and becomes root of that alone.
UNSHARE = ("unshare", "--user", "--map-root-user", "--net")


def test_nobody_inside_hears_a_packet(tmp_path: Path) -> None:
    """In a network namespace, where somebody listens on the metadata address and on private ones."""
    if not shutil.which("ip") or not shutil.which("unshare"):
        pytest.skip("this machine lacks ip or unshare")
    allowed = subprocess.run([*UNSHARE, "ip", "link", "set", "lo", "up"], capture_output=True, check=False)
    if allowed.returncode:
        pytest.skip(f"this machine permits no network namespace: {allowed.stderr.decode().strip()}")

    program = Path(__file__).with_name("namespace_program.py")
    done = subprocess.run(
        [*UNSHARE, sys.executable, program], input=json.dumps(HOSTILE), capture_output=True, text=True, cwd=tmp_path,
        timeout=120, check=False
    )  # fmt: skip

    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["ended"].pop("http://rebinding.test/") == "fetched"  # from the answer that was checked
    assert {url: code for url, code in report["ended"].items() if code != "source_blocked"} == {}
    assert len(report["ended"]) > len(HOSTILE) + 30
    assert report["heard"] == []
    # And they would have heard
    assert {"169.254.169.254", "10.0.0.1", "a packet to 169.254.169.254", "a packet to fd00:ec2::254"} <= set(
        report["control"]
    )
