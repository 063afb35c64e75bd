"""The parts of the chaos run. Only `keeper` and `observer` touch Ray's inside; the drivers use the public API alone."""
