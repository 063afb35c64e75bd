"""The harness that all subjects share: clusters, sides, rounds, estimates, rows, the table and the picture."""
