"""Members whom the servers know by Kerberos: tickets that are there, that are missing, that run out and are renewed."""

from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from aiopartition import AuthenticationError, Kerberos, PartitionCoordinator, SaslDigest
from tests.faults.rights import SUPER_USER
from tests.support import Ensemble, OpenProxy, Proxy, ZooKeeperServer, wait_until
from tests.support.admin import Operator, session_of, super_user_properties
from tests.support.command_line import command, data
from tests.support.fleet import GROUP, Fleet
from tests.support.kerberos import INSTALL_COMMAND, REALM, Realm
from tests.support.ports import LOOPBACK, free_port
from tests.support.sasl import PROVIDER, digest_properties
from tests.support.tls import Certificates

if find_spec("gssapi") is None:
    raise RuntimeError(f"no gssapi for this Python; run nox -s kerberos, or install it with: {INSTALL_COMMAND}")

MEMBER = "member"
REQUIRED = {"zookeeper.sessionRequireClientSASLAuth": "true"}


@pytest.fixture
async def fleet(anyio_backend: str) -> AsyncIterator[Fleet]:
    async with Fleet() as fleet:
        yield fleet


@pytest.fixture(scope="module")
async def realm(anyio_backend: str) -> AsyncIterator[Realm]:
    async with Realm() as realm:
        yield realm


@pytest.fixture(scope="module")
def keytab(realm: Realm) -> Path:
    return realm.principal(MEMBER)


@pytest.fixture(scope="module")
def server_keytab(realm: Realm) -> Path:
    return realm.principal("zookeeper/localhost")


@pytest.fixture(scope="module")
async def server(realm: Realm, server_keytab: Path) -> AsyncIterator[ZooKeeperServer]:
    """A server that serves nobody else than those whom it knows by Kerberos."""
    properties = {**realm.properties(server_keytab, "zookeeper/localhost"), **REQUIRED}
    async with ZooKeeperServer(settings=PROVIDER, properties=properties) as server:
        yield server


@pytest.fixture(autouse=True)
def logged_in(realm: Realm, keytab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kerberos finds this realm, and fresh tickets."""
    for name, value in realm.environment.items():
        monkeypatch.setenv(name, value)
    realm.log_in(MEMBER, keytab)


def url_of(*servers: ZooKeeperServer | Proxy) -> str:
    """By name: the servers' principals have it, not the address."""
    return f"zookeeper://{','.join(f'localhost:{server.port}' for server in servers)}/n"


async def refusal(url: str, auth: Kerberos | SaslDigest) -> str:
    """What start() raises."""
    member = PartitionCoordinator(url, auth=auth)
    with pytest.raises(AuthenticationError) as refused:
        await member.start()
    await member.stop()
    return str(refused.value)


class TestKnown:
    async def test_members_join(self, fleet: Fleet, server: ZooKeeperServer) -> None:
        for name in ("a", "b"):
            await fleet.start(url_of(server), name, auth=Kerberos())
        await fleet.settle()

    async def test_what_is_created_belongs_to_the_principal_alone(
        self, fleet: Fleet, realm: Realm, server_keytab: Path
    ) -> None:
        known = realm.properties(server_keytab, "zookeeper/localhost")
        properties = {**known, **super_user_properties(*SUPER_USER)}
        async with ZooKeeperServer(settings=PROVIDER, properties=properties) as willing:
            await fleet.start(url_of(willing), "a", auth=Kerberos())
            async with Operator(willing.address, auth=SUPER_USER) as operator:
                for path in ("/n", f"/n/{GROUP}", f"/n/{GROUP}/members"):
                    (entry,) = await operator.get_acl(path)
                    assert (entry.id.scheme, entry.id.id, entry.acl_list) == ("sasl", f"{MEMBER}@{REALM}", ["ALL"])

    async def test_with_a_certificate_too_it_is_the_principal_alone(
        self, fleet: Fleet, realm: Realm, server_keytab: Path, tmp_path: Path
    ) -> None:
        """The certificate alone does not let in, and is none of those whom ``strict_acl`` refuses."""
        certificates, port = Certificates(tmp_path), free_port()
        known = realm.properties(server_keytab, "zookeeper/localhost")
        settings = {**certificates.server_settings(port, client_certificate=True), **PROVIDER}
        async with ZooKeeperServer(
            settings=settings, properties={**known, **super_user_properties(*SUPER_USER)}
        ) as both:
            context, url = certificates.client_context(name="a"), f"zookeeper://localhost:{port}/n"
            for name in ("a", "b"):
                await fleet.start(url, name, auth=Kerberos(), ssl=context, strict_acl=True)
            await fleet.settle()
            async with Operator(both.address, auth=SUPER_USER) as operator:
                for path in ("/n", f"/n/{GROUP}", f"/n/{GROUP}/members"):
                    (entry,) = await operator.get_acl(path)
                    assert (entry.id.scheme, entry.id.id, entry.acl_list) == ("sasl", f"{MEMBER}@{REALM}", ["ALL"])
            for member in fleet.members:
                await member.stop()

    async def test_each_server_by_its_own_name(self, fleet: Fleet, realm: Realm, server_keytab: Path) -> None:
        """Three servers, of which one has another name, and so another principal; each goes away in turn."""
        name = f"zookeeper/{LOOPBACK}"
        properties = {**realm.properties(server_keytab, "zookeeper/localhost"), **REQUIRED}
        three = Ensemble(settings=PROVIDER, properties=properties)
        three.servers[2].properties.update(realm.properties(realm.principal(name), name))
        async with three:
            first, second, third = three.servers
            member = await fleet.start(
                f"zookeeper://localhost:{first.port},localhost:{second.port},{third.address}/n", "a", auth=Kerberos()
            )
            await fleet.start(third.url("/n"), "b", auth=Kerberos())
            for server in (first, second):
                await server.kill()
                await wait_until(lambda: member.connected)
                await server.start(wait=False)
                await three.wait_quorum()
            await fleet.settle()


class TestCommandLine:
    async def test_by_an_option(self, fleet: Fleet, server: ZooKeeperServer) -> None:
        await fleet.start(url_of(server), "a", auth=Kerberos())
        await fleet.settle()
        [member] = (await data("members", url_of(server), GROUP, "--kerberos"))["members"]
        assert member["id"] == "a"
        examined = await command("doctor", url_of(server), "--kerberos")
        assert examined.status == 0, examined
        assert "logged in by Kerberos" in examined.out

    async def test_without_tickets(self, realm: Realm, server: ZooKeeperServer) -> None:
        realm.log_out()
        refused = await command("groups", url_of(server), "--kerberos")
        assert refused.status == 5
        assert "No Kerberos credentials available" in refused.err


class TestRefused:
    async def test_no_credentials(self, realm: Realm, server: ZooKeeperServer) -> None:
        realm.log_out()
        assert "No Kerberos credentials available" in await refusal(url_of(server), Kerberos())

    async def test_a_service_that_the_realm_does_not_know(self, server: ZooKeeperServer) -> None:
        assert "not found in Kerberos database" in await refusal(url_of(server), Kerberos("another"))

    async def test_a_server_that_is_another(self, realm: Realm) -> None:
        """It has not the key of the name under which we look for it."""
        elsewhere = realm.principal("zookeeper/elsewhere")
        properties = {**realm.properties(elsewhere, "zookeeper/elsewhere"), **REQUIRED}
        async with ZooKeeperServer(settings=PROVIDER, properties=properties) as impostor:
            assert "does not accept these credentials" in await refusal(url_of(impostor), Kerberos())

    async def test_another_mechanism(self, server: ZooKeeperServer, tmp_path: Path) -> None:
        assert await refusal(url_of(server), SaslDigest("agent", "s3cret"))
        properties = {**digest_properties(tmp_path, {"agent": "s3cret"}), **REQUIRED}
        async with ZooKeeperServer(settings=PROVIDER, properties=properties) as other:
            assert "Invalid token was supplied" in await refusal(url_of(other), Kerberos())
        async with ZooKeeperServer() as none:
            assert "not set up for SASL" in await refusal(url_of(none), Kerberos())


class TestTickets:
    async def test_one_that_expires_harms_no_connection_and_the_next_takes_a_new_one(
        self, fleet: Fleet, realm: Realm, keytab: Path, server: ZooKeeperServer, proxy: OpenProxy
    ) -> None:
        """Without a new one, the member says why it is not connected, and goes on trying."""
        realm.log_in(MEMBER, keytab, "-l", "3s")
        network = await proxy(server)
        member = await fleet.start(url_of(network), "a", auth=Kerberos(), heartbeat=0.1)
        await wait_until(realm.expired)
        await member.heartbeat()
        assert network.connections == 1
        network.reset()
        await wait_until(lambda: "expired" in session_of(member).last_error.lower())
        assert not member.connected
        realm.log_in(MEMBER, keytab)
        await wait_until(lambda: member.connected)
        await fleet.settle()

    async def test_an_expired_one_is_refused_at_the_start(
        self, realm: Realm, keytab: Path, server: ZooKeeperServer
    ) -> None:
        realm.log_in(MEMBER, keytab, "-l", "1s")
        await wait_until(realm.expired)
        assert "expired" in (await refusal(url_of(server), Kerberos())).lower()

    async def test_from_a_keytab_they_are_taken_without_help(
        self, fleet: Fleet, realm: Realm, keytab: Path, server: ZooKeeperServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        realm.log_out()
        monkeypatch.setenv("KRB5_CLIENT_KTNAME", str(keytab))
        await fleet.start(url_of(server), "a", auth=Kerberos())
        await fleet.settle()

    async def test_a_kdc_that_does_not_answer_is_waited_for(
        self, fleet: Fleet, realm: Realm, server: ZooKeeperServer
    ) -> None:
        """That is trouble, and no refusal: start() goes on in the background."""
        await realm.end()
        member = PartitionCoordinator(url_of(server), auth=Kerberos(), connect_timeout=1.0)
        await member.start()
        assert not member.connected
        assert "Cannot contact any KDC" in session_of(member).last_error
        await realm.begin()
        await wait_until(lambda: member.connected)
        await member.stop()
