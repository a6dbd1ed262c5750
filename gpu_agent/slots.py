"""The agent's slots: how many predictions run at the same time on this machine, over all its models.

A slot is free again as soon as the runner is, while the result's files are still being stored. But when as
many results as there are slots are still on their way, each further one holds its slot: a slow uplink slows
the machine down instead of filling its disk.
"""


class Slots:
    """Counts. Whoever changes them tells the channels, since a free slot is offered to all of them."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.running = 0
        self.ending = 0
        self.draining = False

    @property
    def free(self) -> int:
        """How many predictions could start now."""
        if self.draining:
            return 0
        return max(0, self.total - self.running - max(0, self.ending - self.total))
