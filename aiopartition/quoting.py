"""Percent-encodes text as one component of a path (RFC 3986)."""

from __future__ import annotations

from urllib.parse import quote, unquote

__all__ = ["quote_component", "unquote_component"]


def quote_component(text: str) -> str:
    """Percent-encode ``text``. The dots of ``.`` and ``..`` are encoded too: those names are special in paths."""
    quoted = quote(text, safe="", errors="surrogatepass")
    return quoted.replace(".", "%2E") if quoted in (".", "..") else quoted


def unquote_component(component: str) -> str:
    """Undo :func:`quote_component`.

    :raises UnicodeDecodeError: if the decoded bytes are not UTF-8.
    """
    return unquote(component, errors="surrogatepass")
