"""Any text as one component of a path (RFC 3986)."""

from __future__ import annotations

from urllib.parse import quote, unquote

__all__ = ["quote_component", "unquote_component"]


def quote_component(text: str) -> str:
    """``text`` as one path component. ``.`` and ``..`` are special in paths, so their dots are encoded too."""
    quoted = quote(text, safe="", errors="surrogatepass")
    return quoted.replace(".", "%2E") if quoted in (".", "..") else quoted


def unquote_component(component: str) -> str:
    """The inverse of :func:`quote_component`.

    :raises UnicodeDecodeError: if the encoded bytes are no text.
    """
    return unquote(component, errors="surrogatepass")
