"""JetStream over our own connection: API requests, publish window, pull loop, ordered reader."""
