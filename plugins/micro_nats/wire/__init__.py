"""Bytes on NATS: envelopes, registry records, go-micro's JSON."""
