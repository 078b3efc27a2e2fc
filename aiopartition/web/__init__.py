"""A status page and health probes for one coordinator: an ASGI application without dependencies."""

from __future__ import annotations

from aiopartition.web.app import StatusApp, status_app

__all__ = ["StatusApp", "status_app"]
