"""Reading one record of a mesh from the GCS key-value store, in a process that is not its supervisor.

Private part of Ray used here: `global_worker.gcs_client.internal_kv_get`. If it goes,
`ray.experimental.internal_kv` does the same.
"""

from __future__ import annotations

from typing import Any

from ray._private.worker import global_worker

from schedulemesh.core.records import keys_of

_TIMEOUT_S = 60


def read_record(mesh: str, namespace: str, key: str) -> bytes | None:
    """Return one value of a mesh, or None. Waits while the GCS is away, for up to a minute."""
    gcs: Any = global_worker.gcs_client  # type: ignore[attr-defined]  # set when the process connects
    value = gcs.internal_kv_get(key.encode(), namespace=keys_of(mesh, namespace), timeout=_TIMEOUT_S)
    return None if value is None else bytes(value)
