"""Processes beside user code: launchers and agents. The only place that unpickles what a driver sent."""
