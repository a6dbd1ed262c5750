"""Where the sockets of this process are, of whatever kind: what a coordinator sends finds its session."""

from collections.abc import Sequence

from coordinator import calls
from coordinator.host import Sockets
from coordinator.protocol import messages as wire


class AllSockets:
    """Several gateways as one. An address is known to one of them at most; the others ignore it."""

    def __init__(self, gateways: Sequence[Sockets]) -> None:
        self._gateways = gateways

    def deliver(self, address: calls.SocketAddress, message: wire.ServerMessage) -> None:
        for gateway in self._gateways:
            gateway.deliver(address, message)

    def lost(self, number: int) -> None:
        for gateway in self._gateways:
            gateway.lost(number)
