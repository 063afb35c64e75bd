"""Ray's actor table and job table, as a launcher reads them.

Private parts of Ray used here:
- `gcs_client.async_get_all_actor_info`: where an actor started, and for which agent it was created. Without it the
  watcher's updates say the first, a moment later; for the second `ray.util.state` is the fallback.
- `gcs_client.get_all_job_info`: whether the driver of this process's job has gone. Without it a launcher would have to
  stay until its mesh is stopped.
"""

from __future__ import annotations

import asyncio
from typing import Any

import ray
from ray import ActorID
from ray._private.worker import global_worker

_TABLE_S = 30
"""Time limit of a reading of Ray's table, in seconds."""


async def row_of(actor_id: str) -> Any:
    """Return Ray's table row of an actor, or None."""
    rows = await _gcs().async_get_all_actor_info(actor_id=ActorID.from_hex(actor_id), timeout=_TABLE_S)
    return next(iter(rows.values()), None)


async def driver_has_gone() -> bool:
    """Return whether the driver of this process's job has disconnected; False while the GCS cannot tell."""
    return await asyncio.to_thread(_driver_has_gone)


def _driver_has_gone() -> bool:
    job_id = ray.get_runtime_context().get_job_id()
    try:
        jobs = _gcs().get_all_job_info(
            job_or_submission_id=job_id, skip_submission_job_info_field=True, skip_is_running_tasks_field=True
        )
    except Exception:  # noqa: BLE001 - the GCS is away: it is asked again
        return False
    return all(job.is_dead for job in jobs.values())


def _gcs() -> Any:
    return global_worker.gcs_client  # type: ignore[attr-defined]  # set when the process connects
