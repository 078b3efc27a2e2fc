"""Draws the picture that the README shows."""
from __future__ import annotations
from typing import Any
def draw(found: dict[str, Any]) -> str:
    return ""
