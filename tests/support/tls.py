"""Certificates of the tests' own authority, as ZooKeeper's server and Python's ``ssl`` want them; a server with one."""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from aiopartition import TlsFiles
from tests.support.ports import LOOPBACK, free_port
from tests.support.server import ZooKeeperServer

ORGANIZATION = "aiopartition"
UNIT = "tests"


class Certificates:
    """One authority, and what it issues; ``directory`` holds the files that ZooKeeper reads."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = trustme.CA()

    def server_settings(self, port: int, *, client_certificate: bool = False) -> dict[str, object]:
        """Lines of configuration for a server that speaks TLS on ``port``, and plain text on its other one.

        With ``client_certificate`` clients must show one of this authority, and are known to ACLs by it.
        """
        issued = self.authority.issue_cert("localhost", LOOPBACK)
        key_store = self.directory / "server-keystore.pem"
        key_store.write_bytes(
            _pkcs8(issued.private_key_pem.bytes())
            + b"".join(blob.bytes() for blob in issued.cert_chain_pems)
            + self.authority.cert_pem.bytes()
        )
        trust_store = self.directory / "truststore.pem"
        trust_store.write_bytes(self.authority.cert_pem.bytes())
        return {
            "serverCnxnFactory": "org.apache.zookeeper.server.NettyServerCnxnFactory",
            "secureClientPort": port,
            "secureClientPortAddress": LOOPBACK,
            "ssl.keyStore.location": key_store,
            "ssl.keyStore.type": "PEM",
            "ssl.trustStore.location": trust_store,
            "ssl.trustStore.type": "PEM",
            "ssl.clientAuth": "need" if client_certificate else "none",
            "authProvider.x509": "org.apache.zookeeper.server.auth.X509AuthenticationProvider",
        }

    def client_context(self, *, name: str | None = None) -> ssl.SSLContext:
        """A client that trusts this authority and, if it has a ``name``, shows a certificate of it."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        if name is not None:
            issued = self.authority.issue_cert(
                name, common_name=name, organization_name=ORGANIZATION, organization_unit_name=UNIT
            )
            issued.configure_cert(context)
        return context

    def write_client(self, directory: Path, name: str, *, issuer: trustme.CA | None = None) -> TlsFiles:
        """Write what :meth:`client_context` has to files, as for a rotation in the place of what is there.

        :param issuer: of the client's certificate; by default this authority.
        """
        issued = (issuer or self.authority).issue_cert(name, common_name=name)
        files = TlsFiles(*(str(directory / f"client-{part}.pem") for part in ("ca", "cert", "key")))
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        contents = (self.authority.cert_pem.bytes(), chain, issued.private_key_pem.bytes())
        for file, content in zip((files.ca, files.cert, files.key), contents, strict=True):
            Path(str(file)).write_bytes(content)
        return files

    @staticmethod
    def identity(name: str) -> str:
        """How the server knows a client of this ``name``: the ``id`` of an ACL with the scheme ``x509``."""
        return f"CN={name},OU={UNIT},O={ORGANIZATION}"


@dataclass(frozen=True)
class SecureServer:
    """A server with a port that speaks TLS beside its plain one."""

    server: ZooKeeperServer
    certificates: Certificates
    port: int

    def url(self, namespace: str) -> str:
        return f"zookeeper://localhost:{self.port}{namespace}"


@asynccontextmanager
async def secure_server(directory: Path, properties: Mapping[str, object] | None = None) -> AsyncIterator[SecureServer]:
    """A server that demands a certificate of its clients on its TLS port. ``directory`` holds its files."""
    certificates, port = Certificates(directory), free_port()
    settings = certificates.server_settings(port, client_certificate=True)
    async with ZooKeeperServer(settings=settings, properties=properties) as server:
        yield SecureServer(server, certificates, port)


def _pkcs8(private_key: bytes) -> bytes:
    """ZooKeeper reads no other form of a private key."""
    key = load_pem_private_key(private_key, password=None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
