"""What is in ``deploy/`` fits the schemas of those that read it, and the commands in it run."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from aiopartition import PartitionCoordinator
from tests.examples.started import ENVIRONMENT, ROOT
from tests.support.ports import free_port

DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
UNIT = DEPLOY / "systemd" / "pollers@.service"
COMPOSE = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
DRAIN_TIMEOUT = 30  # seconds, the default of run() and hold()


def workload(manifest: Path) -> dict[str, Any]:
    """The document that has the pods."""
    found: list[dict[str, Any]] = [
        each for each in yaml.safe_load_all(manifest.read_text()) if each["kind"] != "Service"
    ]
    return found[0]


def container(manifest: Path) -> dict[str, Any]:
    """Its only container."""
    (found,) = workload(manifest)["spec"]["template"]["spec"]["containers"]
    return dict(found)


def unit() -> dict[str, list[str]]:
    """Settings of the unit."""
    settings: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.MULTILINE):
        settings.setdefault(name, []).append(value)
    return settings


@contextmanager
def serving(command: list[str], environment: dict[str, str]) -> Iterator[str]:
    """Run a command of a manifest on a port that is free; the address."""
    port = str(free_port())
    replaced = [{"8000": port, "800%i": port, "0.0.0.0": "127.0.0.1"}.get(word, word) for word in command[1:]]
    uvicorn = [sys.executable, "-m", Path(command[0]).name, *replaced]
    process = subprocess.Popen(uvicorn, cwd=ROOT / "examples", env={**ENVIRONMENT, **environment})
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        assert process.wait(timeout=30) in (0, -15, 143)  # what SuccessExitStatus= admits


def answer(url: str) -> int:
    """The status of an answer, as a probe sees it."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def until_ok(url: str) -> None:
    """Probe as often as Kubernetes would in a hurry."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with suppress(OSError):
            if answer(url) == 200:
                return
        time.sleep(0.05)
    raise AssertionError(f"{url} is not ready")


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.stem)
def test_manifest_fits_kubernetes_schema(manifest: Path) -> None:
    """Each document, with no field that Kubernetes does not know."""
    for document in yaml.safe_load_all(manifest.read_text()):
        kubernetes_validate.validate(document, "1.30", strict=True)


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.stem)
def test_manifest_stops_in_time_and_probes(manifest: Path) -> None:
    """There is time to drain, labels match, ids are the pods', ports have the names that probes use."""
    spec = workload(manifest)["spec"]
    pod, only = spec["template"]["spec"], container(manifest)
    assert pod["terminationGracePeriodSeconds"] > DRAIN_TIMEOUT + 5
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
    probes = {kind: only[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert {kind: probe["path"] for kind, probe in probes.items()} == {
        "startup": "/status/live", "liveness": "/status/live", "readiness": "/status/ready",
    }  # fmt: skip
    assert {probe["port"] for probe in probes.values()} == {port["name"] for port in only["ports"]}
    fields = {each["name"]: each["valueFrom"]["fieldRef"]["fieldPath"] for each in only["env"] if "valueFrom" in each}
    assert fields == {"AIOPARTITION_MEMBER_ID": "metadata.name"}
    if workload(manifest)["kind"] == "StatefulSet":
        assert spec["podManagementPolicy"] == "Parallel"


def commands() -> dict[str, list[str]]:
    """All commands that start a member."""
    return {
        **{manifest.stem: container(manifest)["command"] for manifest in MANIFESTS},
        "systemd": shlex.split(unit()["ExecStart"][0]),
        "compose": COMPOSE["services"]["poller"]["command"],
    }


@pytest.mark.parametrize("name", sorted(commands()))
async def test_command_runs(name: str, on_zookeeper: str) -> None:
    """It is live, then ready, under the id that it is given, and ends by SIGTERM."""
    environment = {"AIOPARTITION_BACKEND_URL": on_zookeeper, "AIOPARTITION_MEMBER_ID": "pollers-0", "REPLICAS": "1"}
    with serving(commands()[name], environment) as url:
        until_ok(f"{url}/status/ready")
        assert answer(f"{url}/status/live") == 200
        async with PartitionCoordinator(on_zookeeper) as observer:
            await observer.observe("targets")
            assert await observer.get_members("targets") == ("pollers-0",)
        _, python, flag, code = COMPOSE["services"]["poller"]["healthcheck"]["test"]
        assert python == "python"
        check = subprocess.run([sys.executable, flag, code.replace("http://127.0.0.1:8000", url)], check=False)
        assert check.returncode == 0


def test_unit_is_understood_by_systemd(tmp_path: Path) -> None:
    """Every setting is known, and its value can be read; the command's path is that of a machine that has it."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd-analyze on this machine")
    here = tmp_path / "pollers@1.service"
    command = unit()["ExecStart"][0].split()[0]
    here.write_text(UNIT.read_text().replace(command, sys.executable).replace("/opt/pollers", str(tmp_path)))
    verified = subprocess.run(
        [analyze, "verify", "--man=no", str(here)], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    # Of the units beside it on this machine, which are none of ours, it may complain too.
    assert [line for line in verified.stderr.splitlines() if "pollers" in line] == []


def test_unit_stops_in_time_and_always_restarts() -> None:
    """What the service does when its coordinator is dead counts as success, and it has to come back."""
    settings = unit()
    assert settings["KillSignal"] == ["SIGTERM"]
    assert int(settings["TimeoutStopSec"][0]) > DRAIN_TIMEOUT + 5
    assert settings["SuccessExitStatus"] == ["143 SIGTERM"]
    assert settings["Restart"] == ["always"]


def test_compose_file() -> None:
    """Three members wait for a healthy ZooKeeper; each has a port, none a fixed id."""
    services = COMPOSE["services"]
    poller = services["poller"]
    assert set(services) == {"zookeeper", "poller"}
    assert set(services["zookeeper"]) == {"image", "environment", "healthcheck"}
    assert set(poller) == {
        "build", "environment", "command", "depends_on", "deploy", "ports", "healthcheck", "restart", "stop_signal",
        "stop_grace_period",
    }  # fmt: skip
    assert poller["depends_on"] == {"zookeeper": {"condition": "service_healthy"}}
    assert "AIOPARTITION_MEMBER_ID" not in poller["environment"]
    assert all(isinstance(value, str) for value in poller["environment"].values())
    first, last = re.fullmatch(r"127\.0\.0\.1:(\d+)-(\d+):8000", poller["ports"][0]).groups()  # type: ignore[union-attr]
    assert int(last) - int(first) + 1 == poller["deploy"]["replicas"] == 3
    assert int(poller["stop_grace_period"].removesuffix("s")) > DRAIN_TIMEOUT + 5
    build = COMPOSE["services"]["poller"]["build"]
    assert (DEPLOY / "compose" / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).is_file()
