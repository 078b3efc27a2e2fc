"""What the tests of the exploration share."""

from __future__ import annotations

from tests.simulation.conftest import quiet_library

__all__ = ["quiet_library"]
