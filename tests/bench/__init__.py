"""The test bench: real ZooKeeper servers, an ensemble of them, and a network in front that can be broken on purpose."""

from tests.bench.ensemble import Ensemble
from tests.bench.proxy import Frame, OpenProxy, Proxy
from tests.bench.server import ZooKeeperServer
from tests.bench.waiting import wait_until

__all__ = ["Ensemble", "Frame", "OpenProxy", "Proxy", "ZooKeeperServer", "wait_until"]
