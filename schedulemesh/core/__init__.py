"""The vocabulary both sides share: amounts, options, states, records, messages, errors. No Ray, no asyncio."""

from schedulemesh.core.agent_actor import AgentActor

__all__ = ["AgentActor"]
