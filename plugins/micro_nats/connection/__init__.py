"""One connection to a NATS cluster."""
