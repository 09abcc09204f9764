"""A service as a running program: start and stop, signals, exit codes, health."""
