"""Ray clusters that run on this machine.

Private part of Ray used here: `find_gcs_addresses`, which looks for their processes, as `ray.init("auto")` does. If it
goes, the reason why none could be joined is always shown, also where there is none.
"""

from __future__ import annotations


def any_runs_here() -> bool:
    """Return whether a Ray cluster runs on this machine; True where Ray cannot tell."""
    try:
        from ray._private.services import find_gcs_addresses  # noqa: PLC0415 - see the module's docstring
    except ImportError:
        return True
    return bool(find_gcs_addresses())
