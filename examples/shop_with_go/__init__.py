"""A shop whose services can be in Python or in Go: its topic is a plain one, as go-micro has it."""
