"""Discovery over NATS by broadcast queries and announcements."""
