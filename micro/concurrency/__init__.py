"""Bounds and clocks: limiter, timers, threads and the watch over the event loop."""
