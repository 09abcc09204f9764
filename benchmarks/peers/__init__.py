"""One module for each peer: the same work done with another library.

Each is a program with two roles, `server` and `client`, so that both ends are processes of their
own; see `benchmarks.peer`. Folders hold peers in other languages, which speak the same lines.
"""
