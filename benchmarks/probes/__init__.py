"""Programs that measure what only this framework has; each prints one JSON line."""
