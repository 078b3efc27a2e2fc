"""Credentials that anybody on the way can read: one warning says so."""

import pytest

from tests.support import Proxy, ZooKeeperServer, wait_until
from tests.support.fleet import Fleet

AUTH = ("user", "s3cret")
ELSEWHERE = "0.0.0.0"  # an address that is none of the loopback's, by which this machine can be reached all the same


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [message for message in (record.getMessage() for record in caplog.records) if "unencrypted" in message]


async def test_one_warning_names_the_host(
    fleet: Fleet, zookeeper: ZooKeeperServer, namespace: str, names: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """However often the connection is made anew."""
    names["zk.example"] = ELSEWHERE
    async with Proxy("localhost", zookeeper.port) as network:
        url = f"zookeeper://zk.example:{network.port}{namespace}"
        member = await fleet.start(url, "a", auth=AUTH, join=False)
        for connections in (2, 3):
            network.reset()
            await wait_until(lambda: network.connections == connections and member.connected)  # noqa: B023
        await member.stop()
    assert warnings(caplog) == [
        f"the credentials go to zk.example ({ELSEWHERE}:{network.port}) unencrypted; use zookeeper+tls://, or ssl="
    ]


@pytest.mark.parametrize(("host", "auth"), [("127.0.0.1", AUTH), ("localhost", AUTH), (ELSEWHERE, None)])
async def test_no_warning_without_a_reason(
    fleet: Fleet,
    zookeeper: ZooKeeperServer,
    namespace: str,
    caplog: pytest.LogCaptureFixture,
    host: str,
    auth: tuple[str, str] | None,
) -> None:
    """What stays on this machine is nobody's; and without credentials there is nothing to read."""
    member = await fleet.start(f"zookeeper://{host}:{zookeeper.port}{namespace}", "a", auth=auth, join=False)
    assert member.connected
    assert warnings(caplog) == []
