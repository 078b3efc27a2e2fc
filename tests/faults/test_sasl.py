"""SASL on real servers: who the server knows, whom it turns away, and when members have to say again who they are."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import ClassVar

import pytest
from kazoo.exceptions import NoAuthError

from aiopartition import AuthenticationError, GroupPolicy, PartitionCoordinator, SaslDigest
from tests.faults.rights import SUPER_USER
from tests.support import Ensemble, OpenProxy, ZooKeeperServer, wait_until
from tests.support.admin import Operator, session_of, super_user_properties
from tests.support.command_line import command, data
from tests.support.fleet import GROUP, Fleet
from tests.support.logged import logged
from tests.support.sasl import PROVIDER, digest_properties

USERS = {
    "agent": "s3cret",
    'quo"ted\\user, realm="x"': 'pass"wo\\rd=,"',
    "jürgen": "größe",
    "日本": "パスワード",
    "mixed": "ünd 日本",
    "empty": "",
}
AGENT = SaslDigest("agent", USERS["agent"])
REQUIRED = {"zookeeper.sessionRequireClientSASLAuth": "true"}
ENFORCED = {"zookeeper.enforce.auth.enabled": "true", "zookeeper.enforce.auth.schemes": "sasl"}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sasl")


@pytest.fixture(scope="module")
async def willing(anyio_backend: str, directory: Path) -> AsyncIterator[ZooKeeperServer]:
    """A server that takes SASL, and other clients too."""
    properties = {**digest_properties(directory, USERS), **super_user_properties(*SUPER_USER)}
    async with ZooKeeperServer(settings=PROVIDER, properties=properties) as server:
        yield server


@pytest.fixture(scope="module", params=[REQUIRED, ENFORCED], ids=["required", "enforced"])
async def strict(anyio_backend: str, directory: Path, request: pytest.FixtureRequest) -> AsyncIterator[ZooKeeperServer]:
    """A server that serves nobody else than those whom it knows by SASL."""
    properties = {**digest_properties(directory, USERS), **request.param}
    async with ZooKeeperServer(settings=PROVIDER, properties=properties) as server:
        yield server


async def refusal(url: str, auth: object = None) -> str:
    """What start() raises."""
    member = PartitionCoordinator(url, auth=auth)  # type: ignore[arg-type]
    with pytest.raises(AuthenticationError) as refused:
        await member.start()
    await member.stop()
    return str(refused.value)


class TestKnown:
    @pytest.mark.parametrize("user", USERS, ids=["plain", "quotes", "latin", "unicode", "mixed", "no password"])
    async def test_whatever_letters(self, fleet: Fleet, willing: ZooKeeperServer, namespace: str, user: str) -> None:
        """The server knows the user: what is created belongs to that user alone."""
        await fleet.start(willing.url(namespace), "a", auth=SaslDigest(user, USERS[user]))
        await fleet.settle()
        async with Operator(willing.address, auth=SUPER_USER) as operator:
            for path in (namespace, f"{namespace}/{GROUP}", f"{namespace}/{GROUP}/members"):
                (entry,) = await operator.get_acl(path)
                assert (entry.id.scheme, entry.id.id, entry.acl_list) == ("sasl", user, ["ALL"])

    async def test_others_have_no_rights(self, fleet: Fleet, willing: ZooKeeperServer, namespace: str) -> None:
        await fleet.start(willing.url(namespace), "a", auth=AGENT)
        async with Operator(willing.address) as stranger:
            with pytest.raises(NoAuthError):
                await stranger.get(f"{namespace}/{GROUP}")
        other = await fleet.start(willing.url(namespace), "b", auth=SaslDigest("mixed", USERS["mixed"]), join=False)
        with pytest.raises(AuthenticationError, match="permission READ denied"):
            await other.join_group(GROUP)

    async def test_exclusive_work_on_a_server_that_demands_it(
        self, fleet: Fleet, strict: ZooKeeperServer, namespace: str
    ) -> None:
        for name in ("a", "b"):
            await fleet.start(strict.url(namespace), name, auth=AGENT, policy=GroupPolicy(exclusive=True))
        await fleet.settle()


class TestRefused:
    @pytest.mark.parametrize("auth", [None, ("agent", "s3cret")], ids=["nothing", "digest"])
    async def test_who_does_not_log_in_is_told_how_at_once(
        self, strict: ZooKeeperServer, namespace: str, auth: tuple[str, str] | None
    ) -> None:
        """The server says so only in its first answer after the handshake: the session was opened already."""
        said = await refusal(strict.url(namespace), auth)
        assert "demands authentication that was not given, usually SASL" in said
        assert "auth=SaslDigest(user, password)" in said

    @pytest.mark.parametrize(
        "auth", [SaslDigest("agent", "guess"), SaslDigest("nobody", "guess")], ids=["wrong password", "unknown user"]
    )
    async def test_wrong_credentials(
        self, willing: ZooKeeperServer, strict: ZooKeeperServer, namespace: str, auth: SaslDigest
    ) -> None:
        for server in (willing, strict):
            said = await refusal(server.url(namespace), auth)
            assert "refuses the credentials: the server does not accept these credentials" in said
            assert "guess" not in said

    async def test_an_unknown_name_with_the_password_of_a_known_one(self, directory: Path, namespace: str) -> None:
        """A server's fault: it goes by the known name that it has looked up last. Nodes of known users stay closed, but
        those of a user whom it knows no more are open to all that it knows."""
        known = USERS["agent"]
        async with ZooKeeperServer(settings=PROVIDER, properties=digest_properties(directory, USERS)) as server:
            theirs, ours = server.url(f"{namespace}-theirs"), server.url(f"{namespace}-ours")
            async with PartitionCoordinator(theirs, auth=SaslDigest("mixed", USERS["mixed"])) as member:
                await member.join_group(GROUP)
            await server.stop()
            server.properties.update(digest_properties(directory, {"agent": known}))
            await server.start()
            stranger = SaslDigest("mixed", known)
            assert "does not accept these credentials" in await refusal(theirs, stranger)
            async with PartitionCoordinator(ours, auth=AGENT) as member:
                await member.join_group(GROUP)
            async with PartitionCoordinator(theirs, auth=stranger) as member:
                await member.join_group(GROUP)
            async with PartitionCoordinator(ours, auth=stranger) as member:
                with pytest.raises(AuthenticationError, match="permission READ denied"):
                    await member.join_group(GROUP)

    async def test_a_server_without_sasl(self, zookeeper: ZooKeeperServer, namespace: str) -> None:
        """Nothing is done there in the name of nobody."""
        assert "the server is not set up for SASL" in await refusal(zookeeper.url(namespace), AGENT)

    async def test_a_server_that_lets_in_whoever_fails(self, directory: Path, namespace: str) -> None:
        """A server may go on after a failure, without having proved that it knows the password."""
        properties = {**digest_properties(directory, USERS), "zookeeper.allowSaslFailedClients": "true"}
        async with ZooKeeperServer(settings=PROVIDER, properties=properties) as server:
            said = await refusal(server.url(namespace), SaslDigest("agent", "guess"))
        assert "the server has not proved that it knows the password" in said


class TestCommandLine:
    AS_AGENT: ClassVar = {"AIOPARTITION_AUTH": f"{AGENT.user}:{USERS[AGENT.user]}"}

    @pytest.mark.parametrize(
        ("options", "variables"),
        [(["--auth-from-env", "--sasl"], {}), (["--auth-from-env"], {"AIOPARTITION_AUTH_SCHEME": "sasl"})],
        ids=["option", "variable"],
    )
    async def test_who_logs_in_is_served(
        self, fleet: Fleet, strict: ZooKeeperServer, namespace: str, options: list[str], variables: dict[str, str]
    ) -> None:
        url, environment = strict.url(namespace), {**self.AS_AGENT, **variables}
        await fleet.start(url, "a", auth=AGENT)
        await fleet.settle()
        examined = await data("doctor", url, *options, environment=environment)
        assert (examined["verdict"], examined["user"]) == ("ok", AGENT.user)
        [member] = (await data("members", url, GROUP, *options, environment=environment))["members"]
        assert member["id"] == "a"
        shown = await data("protect", url, *options, environment=environment)
        assert (shown["members"], shown["open"]) == ([f"sasl:{AGENT.user}"], [])

    @pytest.mark.parametrize("options", [[], ["--auth-from-env"]], ids=["nothing", "digest"])
    async def test_who_does_not_is_told_the_option(
        self, strict: ZooKeeperServer, namespace: str, options: list[str]
    ) -> None:
        url = strict.url(namespace)
        refused = await command("members", url, GROUP, *options, environment=self.AS_AGENT)
        assert (refused.status, refused.out) == (5, "")
        examined = await data("doctor", url, *options, environment=self.AS_AGENT, status=1)
        for said in (refused.err, examined["servers"][0]["problem"]):
            assert "to the command line, --auth-from-env --sasl, or --kerberos" in said

    async def test_a_wrong_password(self, strict: ZooKeeperServer, namespace: str) -> None:
        environment = {"AIOPARTITION_AUTH": f"{AGENT.user}:guess"}
        arguments = ("members", strict.url(namespace), GROUP, "--auth-from-env", "--sasl")
        refused = await command(*arguments, environment=environment)
        assert refused.status == 5
        assert "the server does not accept these credentials" in refused.err
        assert "guess" not in refused.err


class TestAgain:
    async def test_on_each_connection(
        self, fleet: Fleet, strict: ZooKeeperServer, namespace: str, proxy: OpenProxy
    ) -> None:
        """A session that is resumed logs in before its watches are armed; nothing moves."""
        network = await proxy(strict)
        first = await fleet.start(network.url(namespace), "a", auth=AGENT)
        await fleet.start(strict.url(namespace), "b", auth=AGENT)
        await fleet.settle()
        session, view = session_of(first).session_id, await first.view(GROUP)
        for count in (2, 3):
            network.reset()
            await wait_until(lambda: network.connections == count and first.connected)  # noqa: B023
            await first.heartbeat()
        assert session_of(first).session_id == session
        assert await first.view(GROUP) == view
        third = await fleet.start(strict.url(namespace), "c", auth=AGENT)  # seen by the watch
        await fleet.settle()
        await third.stop()
        await fleet.settle(*fleet.members[:2])

    async def test_after_the_session_has_expired(
        self, fleet: Fleet, strict: ZooKeeperServer, namespace: str, proxy: OpenProxy
    ) -> None:
        network = await proxy(strict)
        member = await fleet.start(network.url(namespace), "a", auth=AGENT, session_timeout=0.4)
        session = session_of(member).session_id
        with network.refuse():
            network.reset()
            other = await fleet.start(strict.url(namespace), "b", auth=AGENT)
            await fleet.settle(other)
        await fleet.settle()
        assert session_of(member).session_id != session

    async def test_at_a_server_that_was_restarted_and_at_others(self, fleet: Fleet, directory: Path) -> None:
        """Three servers, each of which goes away in turn."""
        async with Ensemble(settings=PROVIDER, properties={**digest_properties(directory, USERS), **REQUIRED}) as three:
            for name in ("a", "b"):
                await fleet.start(three.url("/n"), name, auth=AGENT, session_timeout=4.0)
            await fleet.settle()
            for server in three.servers:
                await server.kill()
                await wait_until(lambda: all(member.connected for member in fleet.members))
                await server.start(wait=False)
                await three.wait_quorum()
            await fleet.settle()

    async def test_credentials_that_are_refused_later(
        self, fleet: Fleet, directory: Path, namespace: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A running member whose user is taken away says why it is not connected, and goes on trying until the user is
        known again."""
        caplog.set_level(logging.WARNING)
        known, unknown = digest_properties(directory, USERS), digest_properties(directory, {"other": "x"})
        async with ZooKeeperServer(settings=PROVIDER, properties={**known, **REQUIRED}) as server:
            member = await fleet.start(server.url(namespace), "a", auth=AGENT, heartbeat=0.1)
            await server.stop()
            server.properties.update(unknown)
            await server.start()
            await wait_until(lambda: "does not accept these credentials" in session_of(member).last_error)
            await wait_until(lambda: any("no server can be reached" in each for each in logged(caplog)))
            assert not member.connected
            await server.stop()
            server.properties.update(known)
            await server.start()
            await fleet.settle()
