"""The RPC protocol: headers, flow control, chunks, compression, old dialects; no I/O, no tasks."""
