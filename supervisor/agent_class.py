"""Compatibility: names that the classes of agents made by version 0.1 refer to, in Ray's function table."""

from __future__ import annotations

from schedulemesh.runtime.agent_class import STOP, UnmadeError, _hook, _stop_on_a_loop, _stop_on_a_thread

__all__ = ["STOP", "UnmadeError", "_hook", "_stop_on_a_loop", "_stop_on_a_thread"]
