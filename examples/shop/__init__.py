"""A shop of three services: orders, points and notifications. `python -m examples.shop` runs it."""
