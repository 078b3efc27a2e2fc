"""A PostgreSQL server for one test, if Debian's postgresql is installed."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BINARIES = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)
"""Where its programs are; ``None``: nowhere."""


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """Run a server that listens on a socket in ``folder`` only. Yield its URL."""
    assert BINARIES is not None
    # It refuses to run as root.
    run_as = ("runuser", "-u", "postgres", "--") if os.geteuid() == 0 else ()
    if run_as:
        shutil.chown(folder, "postgres")

    def run(*command: str) -> None:
        subprocess.run([*run_as, *command], check=True, cwd=folder, stdout=subprocess.DEVNULL, timeout=50)

    data = str(folder / "data")
    run(str(BINARIES / "initdb"), "-D", data, "-U", "example", "--auth", "trust", "--no-sync")
    control = (str(BINARIES / "pg_ctl"), "-D", data, "-w", "-l", str(folder / "log"))
    run(*control, "-o", f"-c listen_addresses='' -c unix_socket_directories={folder}", "start")
    try:
        yield f"postgresql://example@/postgres?host={folder}"
    finally:
        run(*control, "-m", "immediate", "stop")
