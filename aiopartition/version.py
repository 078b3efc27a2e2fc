"""The version, in a module of its own so that it can be read without importing the library's dependencies."""

from typing import Final

__all__ = ["__version__"]

__version__: Final = "0.1.0"
