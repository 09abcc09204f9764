"""`python -m micro.cli`, as workers are started."""

from __future__ import annotations

import sys

from micro.cli import main

if __name__ == "__main__":
    sys.exit(main())
