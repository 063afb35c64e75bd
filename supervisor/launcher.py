"""Compatibility: the hook that agents made by version 0.1 name in their runtime_env."""

from __future__ import annotations

from schedulemesh.runtime.env_vars import prepare_process

__all__ = ["prepare_process"]
