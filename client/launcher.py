"""The launcher of this process's job: created before the first request that needs one, and again if it has gone."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress

from ray.exceptions import RayError

from schedulemesh.client.environment import current_environment, session
from schedulemesh.core.environments import Environment, environment_key
from schedulemesh.runtime.launcher_actor import create_launcher


class JobLauncher:
    """One mesh's launcher in the job that this process belongs to. Thread-safe; holds names only.

    Threads of one driver, and processes of one job in the same environment and on the same node, share one launcher:
    its Ray name is made of the environment, and Ray gives a name once.
    """

    def __init__(self, mesh: str, namespace: str) -> None:
        self._mesh = mesh
        self._namespace = namespace
        self._lock = threading.Lock()
        self._session: tuple[str, str] | None = None
        self._environment = Environment()
        self._key = ""

    def environment(self) -> Environment:
        """Return this process's environment."""
        with self._lock:
            if self._session != session():
                self._environment, self._session = current_environment(), session()
                self._key = environment_key(self._environment)
            return self._environment

    def ensure(self) -> None:
        """Create the launcher of this process's environment, if there is none.

        Does not wait for the launcher's process. Where Ray cannot create it just now, the supervisor finds none and
        starts one itself.
        """
        environment = self.environment()
        with suppress(ValueError, RayError):
            create_launcher(self._mesh, self._namespace, self._key, node_id=environment.node_id)


def given_variables() -> dict[str, str]:
    """Return the env_vars that this process got from its own agent's record, if it belongs to an agent."""
    module = sys.modules.get("schedulemesh.runtime.env_vars")  # loaded by the hook that sets them
    return module.given() if module is not None else {}
