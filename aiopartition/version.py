"""The version, where nothing else has to be imported to read it."""

from typing import Final

__all__ = ["__version__"]

__version__: Final = "0.1.0"
