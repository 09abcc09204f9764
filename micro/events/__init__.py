"""Events: publishing, and handlers for topics."""
