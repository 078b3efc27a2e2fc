"""The document in a group's node, by which members make sure that they all place keys in the same way."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, Final

from aiopartition.errors import ConfigurationError, PolicyMismatchError
from aiopartition.parsing import parse_json
from aiopartition.placement.policy import GroupPolicy

__all__ = ["FORMAT", "check_document", "document_of", "policy_of"]

FORMAT: Final = 1
"""The version of placement and layout. Members of different formats must not share a group."""

_DEFAULT_POLICY: Final = asdict(GroupPolicy())


def document_of(policy: GroupPolicy) -> bytes:
    """Return the document that the first member writes into the group's node."""
    return json.dumps({"format": FORMAT, "policy": policy.as_json()}).encode()


def check_document(document: bytes, group_id: str, policy: GroupPolicy) -> None:
    """Check that the group has this policy.

    :raises PolicyMismatchError: if it has another policy or format.
    """
    number, theirs = _stored(document, group_id)
    ours = asdict(policy)
    differences = {
        # A field that only a newer version knows is a difference too: it was written because it matters.
        field: (theirs.get(field), ours.get(field))
        for field in sorted(theirs.keys() | ours.keys())
        if not _same(theirs.get(field), ours.get(field))
    }
    if not _same(number, FORMAT):
        differences["format"] = (number, FORMAT)
    if differences:
        raise PolicyMismatchError(group_id, differences)


def policy_of(document: bytes, group_id: str) -> GroupPolicy:
    """Return the policy that a group has.

    :raises PolicyMismatchError: if this version of the library cannot follow it.
    """
    number, fields = _stored(document, group_id)
    strange: dict[str, tuple[Any, Any]] = {
        field: (fields[field], None) for field in sorted(fields.keys() - _DEFAULT_POLICY.keys())
    }
    if not _same(number, FORMAT):
        strange["format"] = (number, FORMAT)
    if strange:
        raise PolicyMismatchError(group_id, strange)
    try:
        return GroupPolicy(**{field: _as_stored(value, _DEFAULT_POLICY[field]) for field, value in fields.items()})
    except ConfigurationError as error:
        raise PolicyMismatchError(group_id, {error.part: (fields[error.part], "something else")}) from error


def _same(value: object, other: object) -> bool:
    """Whether two values are equal in JSON, where ``true`` is not 1."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _as_stored(value: Any, default: Any) -> Any:
    """Return ``value`` as this library would have stored it, if it is the same number."""
    return int(value) if isinstance(value, float) and type(default) is int and value.is_integer() else value


def _stored(document: bytes, group_id: str) -> tuple[Any, dict[str, Any]]:
    """Return the format and the fields of the policy, unchecked.

    :raises PolicyMismatchError: if this library did not write the document.
    """
    try:
        stored: Any = parse_json(document)
        return stored["format"], {**_DEFAULT_POLICY, **stored["policy"]}
    except (ValueError, KeyError, TypeError):
        shown = document[:40].decode("utf-8", "replace")
        raise PolicyMismatchError(group_id, {"document": (shown, "a policy of this library")}) from None
