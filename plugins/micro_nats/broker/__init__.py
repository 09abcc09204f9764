"""Events over NATS."""
