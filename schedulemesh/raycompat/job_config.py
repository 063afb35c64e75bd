"""The code paths of this process's job, as Ray itself put them together for the job's workers.

Private part of Ray used here: `global_worker.core_worker.get_job_config()`. If it goes, a launcher that the mesh starts
for an environment whose own launcher has gone cannot import modules beside the driver's script; everything else works.
"""

from __future__ import annotations

from typing import Any

from ray._private.worker import global_worker


def code_paths() -> list[str]:
    """Return what Ray puts on `sys.path` of this job's workers, without repetitions."""
    core_worker: Any = getattr(global_worker, "core_worker", None)
    config = core_worker.get_job_config() if core_worker is not None else None
    return list(dict.fromkeys(config.py_driver_sys_path)) if config is not None else []
