"""With a certificate and a password a client is two: for whom are its nodes?"""

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from kazoo.security import make_acl

from aiopartition import Acl, AuthenticationError, ForeignRightsError, PartitionError
from tests.faults.rights import AGENT, SUPER_USER
from tests.support.admin import Operator, rights, super_user_properties
from tests.support.fleet import GROUP, Fleet
from tests.support.logged import logged
from tests.support.tls import SecureServer, secure_server

SHA3 = {"zookeeper.DigestAuthenticationProvider.digestAlg": "SHA3-256"}


@dataclass(frozen=True)
class Secure(SecureServer):
    """One with a super user at its shell."""

    operator: Operator

    async def ids(self, path: str) -> set[str]:
        return {f"{each.id.scheme}:{each.id.id}" for each in await self.operator.get_acl(path)}


@pytest.fixture(scope="module")
async def secure(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Secure]:
    properties = super_user_properties(*SUPER_USER)
    async with (
        secure_server(tmp_path_factory.mktemp("certificates"), properties) as made,
        Operator(made.server.address, auth=SUPER_USER) as operator,
    ):
        yield Secure(made.server, made.certificates, made.port, operator)


async def test_the_certificate_alone_does_not_let_in(fleet: Fleet, secure: Secure, namespace: str) -> None:
    """The nodes are for the user. Whoever has a certificate of the same name, and not the password, is kept out."""
    context = secure.certificates.client_context(name="poller")
    await fleet.start(secure.url(namespace), "a", ssl=context, auth=AGENT, strict_acl=True)
    await fleet.start(secure.url(namespace), "b", ssl=context, auth=AGENT, strict_acl=True)
    await fleet.settle()
    for path in (namespace, f"{namespace}/{GROUP}", f"{namespace}/{GROUP}/members"):
        assert await secure.ids(path) == {Acl.digest_id(*AGENT)}
    stranger = await fleet.start(secure.url(namespace), "c", ssl=context, join=False)
    with pytest.raises(AuthenticationError, match="permission READ denied"):
        await stranger.join_group(GROUP)
    fleet.members.remove(stranger)
    await fleet.settle()


async def test_the_certificate_is_told_where_it_lets_in(
    fleet: Fleet, secure: Secure, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nodes of earlier versions name both, the certificate and the user: that is one of those who may change them."""
    identity = f"x509:{secure.certificates.identity('poller')}"
    await secure.operator.create(
        namespace, acl=[rights(AGENT, "crwda"), make_acl("x509", identity.removeprefix("x509:"), all=True)]
    )
    context = secure.certificates.client_context(name="poller")
    await fleet.start(secure.url(namespace), "a", ssl=context, auth=AGENT)
    [warning] = [each for each in logged(caplog, level=logging.WARNING) if "others than its members" in each]
    assert f"'{identity}' has WRITE, CREATE, DELETE, ADMIN on {namespace};" in warning


async def test_the_certificate_is_chosen(fleet: Fleet, secure: Secure, namespace: str) -> None:
    """Members that have a certificate each, and no password; one with another certificate is kept out."""
    acl = Acl(tuple(f"x509:{secure.certificates.identity(name)}" for name in ("a", "b")))
    for name in ("a", "b"):
        context = secure.certificates.client_context(name=name)
        await fleet.start(secure.url(namespace), name, ssl=context, acl=acl, strict_acl=True)
    await fleet.settle()
    assert await secure.ids(f"{namespace}/{GROUP}/members") == set(acl.members)
    other = await fleet.start(secure.url(namespace), "c", ssl=secure.certificates.client_context(name="c"), join=False)
    with pytest.raises(AuthenticationError, match="permission READ denied"):
        await other.join_group(GROUP)
    # The server's own spelling of the name is what counts, and what the error shows.
    misspelled = Acl((f"x509:{secure.certificates.identity('c').replace(',', ', ')}",))
    other = await fleet.start(
        secure.url(f"{namespace}-2"), "c", ssl=secure.certificates.client_context(name="c"), acl=misspelled, join=False
    )
    with pytest.raises(PartitionError, match=rf"'x509:{secure.certificates.identity('c')}'"):
        await other.join_group(GROUP)
    fleet.members[2:] = []


async def test_a_certificate_closes_nothing_by_itself(
    fleet: Fleet, secure: Secure, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Other members have other certificates, so nodes stay open; that is said, and is none of the members' fault."""
    context = secure.certificates.client_context(name="a")
    await fleet.start(secure.url(namespace), "a", ssl=context)
    [warning] = [each for each in logged(caplog, level=logging.WARNING) if "others than its members" in each]
    assert "'world:anyone' has WRITE, CREATE, DELETE, ADMIN on" in warning
    strict = await fleet.start(secure.url(namespace), "b", ssl=context, strict_acl=True, join=False)
    with pytest.raises(ForeignRightsError):
        await strict.join_group(GROUP)


async def test_a_server_with_another_algorithm(
    namespace: str, tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    """Which hash it makes of a password only the server knows. Nobody is locked out: the nodes admit both, which is
    said."""
    async with secure_server(tmp_path_factory.mktemp("certificates"), SHA3) as secure, Fleet() as fleet:
        context = secure.certificates.client_context(name="poller")
        for name in ("a", "b"):
            await fleet.start(secure.url(namespace), name, ssl=context, auth=AGENT)
        await fleet.settle()
        told = [each for each in logged(caplog, level=logging.WARNING) if "others than its members" in each]
        assert len(told) == 2
        assert f"'x509:{secure.certificates.identity('poller')}' has WRITE, CREATE, DELETE, ADMIN on" in told[0]
        assert "digest" not in told[0]
