"""A Kerberos realm of the tests' own: a KDC on loopback, its principals and their keys."""

import os
import shutil
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from tests.support.ports import LOOPBACK, free_port
from tests.support.sasl import login_properties
from tests.support.started import Started
from tests.support.waiting import wait_until

INSTALL_COMMAND = "apt-get install -y --no-install-recommends krb5-kdc krb5-admin-server krb5-user python3-gssapi"
REALM = "TEST"
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/lib/krb5kdc"])


class Realm(Started):
    """The realm ``TEST``. Tools and libraries find it by the variables in :attr:`environment`."""

    def __init__(self) -> None:
        self._files = tempfile.TemporaryDirectory(prefix="realm-")
        self.directory = Path(self._files.name)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.environment = {
            "KRB5_CONFIG": str(self.directory / "krb5.conf"),
            "KRB5_KDC_PROFILE": str(self.directory / "kdc.conf"),
            "KRB5CCNAME": f"FILE:{self.directory / 'credentials'}",
        }

    async def start(self) -> None:
        (self.directory / "krb5.conf").write_text(f"""[libdefaults]
    default_realm = {REALM}
    dns_lookup_kdc = false
    dns_lookup_realm = false
    dns_canonicalize_hostname = false
    rdns = false
    udp_preference_limit = 1
[realms]
    {REALM} = {{
        kdc = {LOOPBACK}:{self.port}
    }}
""")
        (self.directory / "kdc.conf").write_text(f"""[kdcdefaults]
    kdc_listen = {LOOPBACK}:{self.port}
    kdc_tcp_listen = {LOOPBACK}:{self.port}
[realms]
    {REALM} = {{
        database_name = {self.directory / "principal"}
        key_stash_file = {self.directory / "stash"}
        acl_file = {self.directory / "acl"}
        max_renewable_life = 1d
    }}
""")
        self.run("kdb5_util", "create", "-s", "-r", REALM, "-P", "master")
        await self.begin()

    async def begin(self) -> None:
        """Start the KDC, or start it again."""
        command = [_find("krb5kdc"), "-n", "-r", REALM]
        with (self.directory / "kdc.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, env={**os.environ, **self.environment}, stdout=log, stderr=subprocess.STDOUT
            )
        await wait_until(self._listens)

    def _listens(self) -> bool:
        with suppress(ConnectionError), socket.create_connection((LOOPBACK, self.port)):
            return True
        return False

    async def end(self) -> None:
        """Stop the KDC. What it knows stays."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    async def close(self) -> None:
        await self.end()
        self._files.cleanup()

    def principal(self, name: str) -> Path:
        """Make a principal. The file has its key."""
        keytab = self.directory / f"{name.replace('/', '-')}.keytab"
        self.run("kadmin.local", "-r", REALM, "-q", f"addprinc -randkey {name}")
        self.run("kadmin.local", "-r", REALM, "-q", f"ktadd -k {keytab} {name}")
        return keytab

    def log_in(self, name: str, keytab: Path, *options: str) -> None:
        """Fill the credential cache."""
        self.run("kinit", *options, "-k", "-t", str(keytab), name)

    def log_out(self) -> None:
        """Empty it."""
        self.run("kdestroy")

    def expired(self) -> bool:
        """Whether the tickets in the credential cache have run out."""
        return self._call("klist", "-s").returncode != 0

    def run(self, tool: str, *arguments: str) -> None:
        """Use one of Kerberos's tools."""
        done = self._call(tool, *arguments)
        assert done.returncode == 0, f"{tool} {arguments}: {done.stdout} {done.stderr}"

    def properties(self, keytab: Path, principal: str) -> dict[str, object]:
        """System properties of a ZooKeeper that this keytab proves to be ``principal``."""
        module = (
            "com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true storeKey=true useTicketCache=false "
            f'keyTab="{keytab}" principal="{principal}@{REALM}";'
        )
        return {"java.security.krb5.conf": self.environment["KRB5_CONFIG"], **login_properties(self.directory, module)}

    def _call(self, tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command, environment = [_find(tool), *arguments], {**os.environ, **self.environment}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def _find(tool: str) -> str:
    path = shutil.which(tool, path=PATH)
    if path is None:
        raise RuntimeError(f"{tool} is not on this machine; install it with: {INSTALL_COMMAND}")
    return path
