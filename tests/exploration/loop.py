"""An event loop in virtual time that calls somebody between any two of its turns."""

from collections.abc import Callable
from typing import Any, cast

from aiopartition.testing import VirtualTimeLoop


class TurnLoop(VirtualTimeLoop):
    """Counts its turns. In one turn it runs all that was ready when the turn began."""

    def __init__(self) -> None:
        self.turn = 0
        self.between_turns: Callable[[], None] | None = None
        """Called before each turn. If it raises, the loop stops and raises the same."""
        super().__init__()

    def _run_once(self) -> None:
        if self.between_turns is not None:
            self.between_turns()
        self.turn += 1
        cast("Any", super())._run_once()
