"""The shop with one of its services in Go, and then the other one."""
