"""A network inside the test: services, their replicas, faults, and a record of what passed."""
