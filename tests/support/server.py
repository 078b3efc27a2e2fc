"""One real ZooKeeper server, in a process of its own that can be killed, frozen and brought back."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.support.java import find_class_path, find_java
from tests.support.ports import LOOPBACK, free_port
from tests.support.started import Endpoint
from tests.support.waiting import wait_until

LEADERSHIP = re.compile(r"Snapshotting: 0x([0-9a-f]+)|starting up and setting last processed zxid: 0x([0-9a-f]+)")
"""A leader writes its state down before it begins its epoch."""


class ServerStartError(RuntimeError):
    """A server did not come up; carries the end of what it wrote."""

    def __init__(self, address: str, reason: str, log: str) -> None:
        super().__init__(address, reason, log)
        self.address = address
        self.reason = reason
        self.log = log

    def __str__(self) -> str:
        return f"ZooKeeper at {self.address} {self.reason}; its log ends with:\n{self.log}"


class ZooKeeperServer(Endpoint):
    """A server on loopback ports and a data directory of its own.

    ``settings`` are lines of the configuration file, ``properties`` are system properties of the JVM; both win over
    what is set here. ``identity`` is the number of a member of an ensemble.
    """

    def __init__(
        self,
        *,
        tick_time: int = 200,
        settings: Mapping[str, object] | None = None,
        properties: Mapping[str, object] | None = None,
        identity: int | None = None,
        heap_megabytes: int = 128,
    ) -> None:
        self.host = LOOPBACK
        self.port = free_port()
        self.tick_time = tick_time
        self.settings = dict(settings or {})
        self.properties = dict(properties or {})
        self.identity = identity
        self.heap_megabytes = heap_megabytes
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen = False

    def __repr__(self) -> str:
        state = "frozen" if self._frozen else "up" if self.running else "down"
        return f"<ZooKeeperServer {self.address} {state}>"

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        """Whether there is a process, and it is not frozen."""
        return self._process is not None and self._process.poll() is None and not self._frozen

    @property
    def frozen(self) -> bool:
        """Whether :meth:`freeze` stopped the process."""
        return self._frozen

    # Life and death

    async def start(self, *, wait: bool = True, timeout: float = 30.0) -> None:
        """Start the process and, unless ``wait`` is false, return once it serves clients."""
        if self._process is not None:
            raise RuntimeError(f"{self!r} was started already")
        self._launch()
        if wait:
            await self.wait_ready(timeout=timeout)

    async def wait_ready(self, *, timeout: float = 30.0) -> None:
        """Wait until the server serves clients: alone, as a leader or as a follower."""

        async def ready() -> bool:
            if self._process is None or self._process.poll() is not None:
                raise ServerStartError(self.address, "ended instead of starting", self.log_tail())
            # Asked while it is starting up, a server can leave a question unanswered for ever.
            return await self.mode(timeout=0.25) is not None

        try:
            await wait_until(ready, timeout=timeout)
        except AssertionError as error:
            raise ServerStartError(self.address, f"does not answer after {timeout:g} s", self.log_tail()) from error

    async def stop(self) -> None:
        """Shut the server down in good order: it closes its connections and its files. The data stay."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """SIGKILL: the kernel closes the connections, nothing else is done. The data stay."""
        await self._end(signal.SIGKILL)

    async def freeze(self) -> None:
        """SIGSTOP: connections stay open and new ones are accepted by the kernel, but nothing is answered."""
        process = self._running_process()
        process.send_signal(signal.SIGSTOP)
        self._frozen = True
        # The signal reaches the threads one by one; the kernel reports the stop when the last of them has stopped.
        await wait_until(lambda: os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOHANG), interval=0.001)

    async def thaw(self) -> None:
        """SIGCONT: go on after :meth:`freeze` as if no time had passed."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
        self._frozen = False

    async def restart(self, *, wait: bool = True) -> None:
        """Stop if need be, and start again with the same data on the same ports."""
        await self.stop()
        await self.start(wait=wait)

    async def restart_granting(self, seconds: float, *, wait: bool = True) -> None:
        """The same, and grant sessions no more than that from now on."""
        self.settings["maxSessionTimeout"] = round(seconds * 1000)
        await self.restart(wait=wait)

    async def heal(self, *, wait: bool = True) -> None:
        """Bring a killed, stopped or frozen server back."""
        if self._frozen:
            await self.thaw()
        if self._process is not None and self._process.poll() is not None:
            await self.kill()
        if self._process is None:
            await self.start(wait=False)
        if wait:
            await self.wait_ready()

    async def wipe(self) -> None:
        """Forget all data: what a server looks like after its disk was lost. The server must be down."""
        if self._process is not None:
            raise RuntimeError(f"{self!r} must be down to be wiped")
        shutil.rmtree(self._data, ignore_errors=True)
        self._log.unlink(missing_ok=True)  # it tells of epochs that there have never been, now

    def forget_tree(self) -> None:
        """Forget the tree, but keep :meth:`transaction_logs`. The server must be down."""
        if self._process is not None:
            raise RuntimeError(f"{self!r} must be down to forget")
        earlier = len(list(self._data.glob("version-2*")))
        (self._data / "version-2").rename(self._data / f"version-2-{earlier}")

    def back_up(self) -> None:
        """Keep a copy of all data, in place of an earlier copy. The server must be down."""
        self._copy_data(self._data, self._home / "backup")

    def restore(self) -> None:
        """Go back to the data that :meth:`back_up` copied. The server must be down."""
        self._copy_data(self._home / "backup", self._data)

    def _copy_data(self, source: Path, target: Path) -> None:
        if self._process is not None:
            raise RuntimeError(f"{self!r} must be down to be copied")
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)

    async def close(self) -> None:
        """Kill the process and remove all its files."""
        await self.kill()
        if self._directory is not None:
            self._directory.cleanup()
            self._directory = None

    # What it has written

    def transaction_logs(self) -> list[Path]:
        """The files in which it logs every transaction before it is carried out, the oldest first."""
        return sorted(self._data.glob("version-2*/log.*"), key=lambda path: int(path.suffix[1:], 16))

    def epochs_led(self) -> dict[int, int]:
        """For each epoch that it led, by its first number, the last transaction of the history that it began with."""
        if not self._log.exists():
            return {}
        epochs: dict[int, int] = {}
        begins_with = 0
        for snapshot, epoch in LEADERSHIP.findall(self._log.read_text(errors="replace")):
            if epoch:
                epochs[int(epoch, 16)] = begins_with
            else:
                begins_with = int(snapshot, 16)
        return epochs

    # Questions to the server

    async def four_letter_word(self, word: str, *, timeout: float = 2.0) -> str:
        """Send a four letter word (``srvr``, ``mntr``, ``cons``, …) and return the answer."""
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(self.host, self.port)
            try:
                writer.write(word.encode())
                return (await reader.read()).decode()
            finally:
                writer.transport.abort()

    async def ephemerals(self) -> set[tuple[str, str]]:
        """The ephemeral nodes in its copy of the tree: session and path of each."""
        _, _, dump = (await self.four_letter_word("dump")).partition("ephemeral nodes dump:")
        found: set[tuple[str, str]] = set()
        session = ""
        for line in dump.partition("Connections dump:")[0].splitlines():
            if line.startswith("0x"):
                session = line.rstrip(":")
            elif line.startswith("\t"):
                found.add((session, line.strip()))
        return found

    async def mntr(self) -> dict[str, str]:
        """The server's figures, by name: ``zk_ephemerals_count``, ``zk_watch_count``, …"""
        lines = (await self.four_letter_word("mntr")).splitlines()
        return {name: value for name, separator, value in (line.partition("\t") for line in lines) if separator}

    async def mode(self, *, timeout: float = 2.0) -> str | None:
        """``standalone``, ``leader`` or ``follower``; None when the server does not serve clients."""
        if not self.running:
            return None
        try:
            answer = await self.four_letter_word("srvr", timeout=timeout)
        except OSError:  # TimeoutError is one
            return None
        return next((line.removeprefix("Mode: ") for line in answer.splitlines() if line.startswith("Mode: ")), None)

    def log_tail(self, lines: int = 30) -> str:
        """The end of what the server wrote."""
        if self._directory is None or not self._log.exists():
            return "(nothing)"
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:]) or "(nothing)"

    # The process

    @property
    def _home(self) -> Path:
        if self._directory is None:
            self._directory = tempfile.TemporaryDirectory(prefix="zookeeper-")
        return Path(self._directory.name)

    @property
    def _data(self) -> Path:
        return self._home / "data"

    @property
    def _log(self) -> Path:
        return self._home / "log"

    def _configuration(self) -> dict[str, object]:
        return {
            "tickTime": self.tick_time,
            "initLimit": 50,
            "syncLimit": 10,
            "dataDir": self._data,
            "clientPort": self.port,
            "clientPortAddress": self.host,
            "maxClientCnxns": 0,
            "forceSync": "no",
            "admin.enableServer": "false",
            "4lw.commands.whitelist": "*",
            **self.settings,
        }

    def _launch(self) -> None:
        self._data.mkdir(exist_ok=True)
        if self.identity is not None:
            (self._data / "myid").write_text(str(self.identity))
        configuration = self._home / "zoo.cfg"
        configuration.write_text("".join(f"{name}={value}\n" for name, value in self._configuration().items()))
        properties = {
            "log4j2.level": "info",
            "org.slf4j.simpleLogger.showDateTime": "true",
            "org.slf4j.simpleLogger.dateTimeFormat": "HH:mm:ss.SSS",
            **self.properties,
        }
        command = [
            # The kernel kills the server when the process that started it ends, however it ends. Asked for by setpriv,
            # not by Python code between fork and exec, which is not safe in a process with threads. If that process
            # is gone before the kernel was asked, the shell sees that it has another parent.
            *("setpriv", "--pdeathsig", "KILL", "--"),
            *("sh", "-c", '[ "$PPID" -eq "$0" ] && exec "$@"', str(os.getpid())),
            *(find_java(), "-cp", find_class_path()),
            *("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", f"-Xmx{self.heap_megabytes}m"),
            *(f"-D{name}={value}" for name, value in properties.items()),
            *("org.apache.zookeeper.server.quorum.QuorumPeerMain", str(configuration)),
        ]
        with self._log.open("ab") as log:
            # Not asyncio's subprocess: a server may outlive the event loop in which it was started.
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def _running_process(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"{self!r} is not running")
        return self._process

    async def _end(self, how: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        try:
            process.send_signal(how)
            if self._frozen:
                await self.thaw()  # a stopped process acts on no signal but SIGKILL
            await wait_until(lambda: process.poll() is not None, interval=0.005, what=f"the end of {self!r}")
        finally:
            process.kill()
            process.wait()
            self._process = None
            self._frozen = False
