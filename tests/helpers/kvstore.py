"""A mesh's keys as they stand in the GCS, read and written past the supervisor."""

from __future__ import annotations

from typing import Any

from ray._private.worker import global_worker

TIMEOUT_S = 30


def keys_of(mesh: str, namespace: str = "schedulemesh") -> list[bytes]:
    return list(_gcs().internal_kv_keys(b"", _room(mesh, namespace), TIMEOUT_S))


def stored(mesh: str, namespace: str = "schedulemesh") -> dict[bytes, bytes]:
    """Every key with its value."""
    room, keys = _room(mesh, namespace), keys_of(mesh, namespace)
    return dict(_gcs().internal_kv_multi_get(keys, room, TIMEOUT_S)) if keys else {}


def put(mesh: str, key: str, value: bytes, namespace: str = "schedulemesh") -> None:
    _gcs().internal_kv_put(key.encode(), value, True, _room(mesh, namespace), TIMEOUT_S)


def wipe(mesh: str, namespace: str = "schedulemesh") -> None:
    for key in keys_of(mesh, namespace):
        _gcs().internal_kv_del(key, False, _room(mesh, namespace), TIMEOUT_S)


def _gcs() -> Any:
    return global_worker.gcs_client  # type: ignore[attr-defined]  # set when the process connects


def _room(mesh: str, namespace: str) -> bytes:
    return f"schedulemesh/{namespace}/{mesh}".replace(":", "%3A").encode()
