"""What the tests of the exploration share."""

from tests.simulation.conftest import quiet_library

__all__ = ["quiet_library"]
