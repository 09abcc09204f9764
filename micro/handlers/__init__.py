"""A user's function becomes an endpoint: signatures, endpoints and their schemas."""
