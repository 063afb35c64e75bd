"""The thin proxy: finds the supervisor by name, asks it, and hands out actor handles."""
