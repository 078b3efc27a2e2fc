"""What is shared: real ZooKeeper servers, an ensemble of them, and a network in front that can be broken on purpose."""

from tests.support.ensemble import Ensemble
from tests.support.proxy import Frame, OpenProxy, Proxy
from tests.support.server import ZooKeeperServer
from tests.support.waiting import wait_until

__all__ = ["Ensemble", "Frame", "OpenProxy", "Proxy", "ZooKeeperServer", "wait_until"]
