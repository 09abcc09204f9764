"""The RPC protocol: headers, flow control, chunks, compression and old dialects; no I/O, no tasks."""
