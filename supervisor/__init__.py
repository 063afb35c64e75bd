"""The service: one detached actor that keeps the books of pools and owns the life of agents."""
