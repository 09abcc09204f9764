"""The NATS plugin: transport, broker and registry over one connection."""
