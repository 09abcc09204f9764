"""Whether a part of a test network was killed."""

from __future__ import annotations

from micro.errors import ConnectionLost

__all__ = ["Cut"]


class Cut:
    """Whether a part was killed.

    Attributes:
        happened: Whether it was.
    """

    def __init__(self) -> None:
        self.happened = False

    def check(self) -> None:
        """Refuse what a killed part still tries.

        Raises:
            ConnectionLost: the part was killed.
        """
        if self.happened:
            raise ConnectionLost("this part was killed", refused=True)
