"""The NATS services protocol (ADR-32): services as the `nats` command sees and calls them."""
