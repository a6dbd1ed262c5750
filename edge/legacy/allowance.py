"""What the workers of 2022 may upload for one job: their uploads carry no token and name no job. Pure."""

from dataclasses import dataclass


@dataclass(slots=True)
class Allowance:
    """Counts down as files come in."""

    files: int
    bytes: int

    def take_file(self) -> bool:
        """Whether one more file may begin."""
        if self.files <= 0:
            return False
        self.files -= 1
        return True

    def take_bytes(self, count: int) -> bool:
        """Whether that many more bytes may come."""
        self.bytes -= count
        return self.bytes >= 0
