"""TLS by URL and by files: what is taken, what is refused, and what is read again."""

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from aiopartition import ConfigurationError, PartitionCoordinator, TlsFiles
from aiopartition.backends.zookeeper.connection import Address
from aiopartition.cli.access import settings_of
from aiopartition.cli.main import make_parser
from aiopartition.settings import Settings, arguments_from_environment
from aiopartition.tls import Tls
from aiopartition.url import parse_url
from tests.unit.refusals import refusal


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    """An authority, and a client's certificate of it."""
    return issue(tmp_path_factory.mktemp("tls"), trustme.CA())


def issue(directory: Path, authority: trustme.CA, ca: bool = True) -> TlsFiles:
    issued = authority.issue_cert("client")
    if ca:
        authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    (directory / "cert.pem").write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(directory / "key.pem"))
    return TlsFiles(*(str(directory / f"{name}.pem") for name in ("ca", "cert", "key")))


class TestUrl:
    def test_the_scheme_is_enough(self) -> None:
        """The authorities are then those of the system."""
        url = parse_url("zookeeper+tls://zk1:3000,zk2,[::1]/name?heartbeat=3")
        assert url.tls == TlsFiles()
        assert (url.scheme, url.namespace, url.options) == ("zookeeper", "/name", {"heartbeat": 3.0})
        assert url.hosts == (("zk1", 3000), ("zk2", 2281), ("::1", 2281))
        assert str(url) == "zookeeper+tls://zk1:3000,zk2:2281,[::1]:2281/name"
        assert Settings.resolve("zookeeper+tls://zk1").ssl == TlsFiles()
        assert parse_url("zookeeper://zk1").tls is None

    def test_files_stand_in_options(self) -> None:
        """Percent-encoded, as all of a URL."""
        url = parse_url("zookeeper+tls://h?ca=/etc/ca.pem&cert=c%20d+e%26f.pem&key=%C3%BC.pem&session_timeout=4")
        assert url.tls == TlsFiles("/etc/ca.pem", "c d+e&f.pem", "ü.pem")
        assert url.options == {"session_timeout": 4.0}

    @pytest.mark.parametrize(
        ("text", "part", "saying"),
        [
            ("zookeeper://h?ca=/x", "backend_url option 'ca'", "zookeeper+tls:// alone"),
            ("zookeeper://h?heartbeat=1&key=x", "backend_url option 'key'", "zookeeper+tls:// alone"),
            ("memory://?cert=/x", "backend_url option 'cert'", "zookeeper+tls:// alone"),
            ("zookeeper+tls://h?ca=", "backend_url option 'ca'", "name a file"),
            ("zookeeper+tls://h?ca", "backend_url option 'ca'", "name a file"),
            ("zookeeper+tls://h?ca=a&ca=b", "backend_url option 'ca'", "twice"),
            ("zookeeper+tls://h?ca=%FF", "backend_url option 1", "UTF-8"),
            ("zookeeper+tls://h?cat=1", "backend_url option 1", "ca, cert, key"),
            ("zookeeper+ssl://h", "backend_url scheme", "zookeeper+tls://"),
            ("memory+tls://h", "backend_url scheme", "zookeeper+tls://"),
        ],
    )
    def test_mistakes_are_named(self, text: str, part: str, saying: str) -> None:
        error = refusal(lambda: parse_url(text))
        assert error.part == part
        assert saying in error.reason


class TestPrecedence:
    def test_file_by_file(self) -> None:
        """The argument comes first, then the URL."""
        url = "zookeeper+tls://h?ca=url-ca&cert=url-cert"
        assert Settings.resolve(url, ssl=TlsFiles(cert="own")).ssl == TlsFiles("url-ca", "own")
        assert Settings.resolve(url, ssl=TlsFiles(key="own")).ssl == TlsFiles("url-ca", "url-cert", "own")
        assert Settings.resolve("zookeeper://h", ssl=TlsFiles()).ssl == TlsFiles()
        context = ssl.create_default_context()
        assert Settings.resolve(url, ssl=context).ssl is context

    @pytest.mark.parametrize("url", ["zookeeper+tls://h?key=k", "zookeeper+tls://h?ca=c&key=k"])
    def test_a_key_needs_its_certificate(self, url: str) -> None:
        assert refusal(lambda: Settings.resolve(url)).part == "TLS key"
        assert refusal(lambda: Settings.resolve("zookeeper://h", ssl=TlsFiles(key="k"))).part == "TLS key"

    def test_nothing_is_read_before_the_first_connection(self) -> None:
        """A constructor does no I/O."""
        PartitionCoordinator("zookeeper+tls://h?ca=/missing&cert=/missing")


class TestEnvironment:
    def test_files(self) -> None:
        variables = {"X_BACKEND_URL": "zookeeper+tls://h", "X_TLS_CA": "a", "X_TLS_CERT": "b", "X_TLS_KEY": "c"}
        assert arguments_from_environment("X_", variables)["ssl"] == TlsFiles("a", "b", "c")
        assert arguments_from_environment("X_", {"X_TLS_CA": "a", "X_TLS_KEY": ""})["ssl"] == TlsFiles("a")
        assert "ssl" not in arguments_from_environment("X_", {"X_BACKEND_URL": "zookeeper+tls://h"})

    @pytest.mark.parametrize("name", ["SSL", "TLS", "TLS_KEYS", "BACKENDURL", "heartbeat", "", "\n"])
    def test_an_unknown_variable_is_refused_by_name(self, name: str) -> None:
        """Or a misspelled one would be ignored: without TLS, say, with the password in plain text."""
        variables = {"X_BACKEND_URL": "zookeeper://h", f"X_{name}": "s3cret"}
        error = refusal(lambda: arguments_from_environment("X_", variables))
        assert error.part == repr(f"X_{name}")
        for known in ("BACKEND_URL", "AUTH", "TLS_CA", "TLS_CERT", "TLS_KEY", "HEARTBEAT"):
            assert known in error.reason
        assert "s3cret" not in str(error)

    def test_what_is_none_of_ours(self) -> None:
        """Empty variables, those without the prefix, and all others where there is no prefix."""
        assert arguments_from_environment("X_", {"X_SSL": "", "Y_SSL": "true", "SSL": "true"}) == {}
        assert arguments_from_environment("", {"SSL": "true", "HEARTBEAT": "3"}) == {"heartbeat": 3.0}


class TestCommandLine:
    def settings(self, *arguments: str) -> Settings:
        given: Any = make_parser().parse_args(["groups", *arguments])
        return settings_of(given)

    def test_the_same_url(self, files: TlsFiles) -> None:
        url = f"zookeeper+tls://h/name?ca={files.ca}&cert={files.cert}&key={files.key}"
        assert self.settings(url).ssl == files
        options = ("--ca", str(files.ca), "--cert", str(files.cert), "--key", str(files.key))
        assert self.settings("zookeeper://h", *options).ssl == files
        assert self.settings(f"zookeeper+tls://h?ca={files.ca}").ssl == TlsFiles(files.ca)
        assert self.settings("zookeeper://h").ssl is None

    def test_files_are_read_at_once(self, files: TlsFiles) -> None:
        """Nobody waits for a connection to hear of a misspelled path."""
        with pytest.raises(ConfigurationError, match="'/missing' is no file"):
            self.settings("zookeeper+tls://h?ca=/missing")
        with pytest.raises(ConfigurationError, match="TLS cert and key"):
            self.settings(f"zookeeper+tls://h?cert={files.cert}&key={files.ca}")


class TestFiles:
    def test_protection_is_the_default_one(self, files: TlsFiles) -> None:
        """Neither less than Python's default, nor more."""
        expected = ssl.create_default_context()
        for chosen in (files, TlsFiles(), TlsFiles(files.ca)):
            context = chosen.context()
            assert context.check_hostname
            assert context.verify_mode == ssl.CERT_REQUIRED
            for name in ("minimum_version", "maximum_version", "options", "verify_flags"):
                assert getattr(context, name) == getattr(expected, name)
        assert len(files.context().get_ca_certs()) == 1

    def test_what_cannot_be_used_is_named(self, files: TlsFiles, tmp_path: Path) -> None:
        broken = tmp_path / "broken.pem"
        broken.write_text("-----BEGIN CERTIFICATE-----\n")
        for bad in (str(broken), str(tmp_path / "missing"), str(tmp_path), "\0"):
            assert refusal(TlsFiles(ca=bad).context).part == "TLS ca"
            assert refusal(TlsFiles(files.ca, bad, files.key).context).part == "TLS cert and key"
            assert refusal(TlsFiles(files.ca, files.cert, bad).context).part == "TLS cert and key"

    def test_an_encrypted_key_asks_nobody(self, files: TlsFiles, tmp_path: Path) -> None:
        """OpenSSL would ask at the terminal, and stop the event loop."""
        from cryptography.hazmat.primitives import serialization as form

        key = form.load_pem_private_key(Path(str(files.key)).read_bytes(), None)
        encrypted = tmp_path / "encrypted.pem"
        encrypted.write_bytes(
            key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.BestAvailableEncryption(b"s3cret"))
        )
        assert "encrypted" in refusal(TlsFiles(None, files.cert, str(encrypted)).context).reason


class TestRotation:
    def test_files_are_read_again_when_they_have_changed(self, tmp_path: Path) -> None:
        """And only then: reading the authorities of a system takes tens of milliseconds."""
        authority = trustme.CA()
        tls = Tls(issue(tmp_path, authority))
        first = tls.context()
        assert tls.context() is first
        issue(tmp_path, authority)
        second = tls.context()
        assert second is not first
        assert tls.context() is second

    def test_a_rotation_by_links(self, tmp_path: Path) -> None:
        """As a volume of Kubernetes does it: the path stays, and leads to another folder."""
        authority = trustme.CA()
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            issue(tmp_path / name, authority)
        link = tmp_path / "now"
        link.symlink_to(tmp_path / "one")
        tls = Tls(TlsFiles(*(str(link / f"{name}.pem") for name in ("ca", "cert", "key"))))
        first = tls.context()
        (tmp_path / "next").symlink_to(tmp_path / "two")
        (tmp_path / "next").rename(link)
        assert tls.context() is not first

    def test_the_midst_of_a_rotation(self, tmp_path: Path) -> None:
        """A new certificate with the old key, or half a file, is no end: the next look finds both."""
        authority = trustme.CA()
        files = issue(tmp_path, authority)
        tls = Tls(files)
        first = tls.context()
        certificate = Path(str(files.cert))
        old_key, old_certificate = Path(str(files.key)).read_bytes(), certificate.read_bytes()
        issue(tmp_path, authority)
        new_key = Path(str(files.key)).read_bytes()
        Path(str(files.key)).write_bytes(old_key)
        assert refusal(tls.context).part == "TLS cert and key"
        certificate.write_bytes(old_certificate[:100])
        assert refusal(tls.context).part == "TLS cert and key"
        certificate.unlink()
        assert "is no file" in refusal(tls.context).reason
        assert new_key != old_key
        certificate.write_bytes(old_certificate)
        assert tls.context() is not first

    def test_a_context_of_the_users_own_stays(self) -> None:
        context = ssl.create_default_context()
        assert Tls(context).context() is context
        assert Tls(None).context() is None


@pytest.mark.parametrize(
    ("ip", "loopback"),
    [
        ("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False), ("0.0.0.0", False), ("::ffff:10.0.0.1", False), ("fe80::1%eth0", False), ("::", False),
    ],
)  # fmt: skip
def test_what_stays_on_this_machine(ip: str, loopback: bool) -> None:
    assert Address("h", ip, 1).is_loopback is loopback
