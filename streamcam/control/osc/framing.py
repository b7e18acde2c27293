"""Packets in a stream of bytes: preceded by their length (OSC 1.0), or between ENDs (1.1, SLIP)."""

from collections.abc import Iterator

from streamcam.control.osc.packets import MAX_PACKET, PacketError

END, ESC, ESC_END, ESC_ESC = b"\xc0", b"\xdb", b"\xdc", b"\xdd"


class Framing:
    """Finds the packets of one connection; the first byte tells which way it is framed."""

    def __init__(self) -> None:
        self._waiting = b""
        self._slip: bool | None = None

    def feed(self, received: bytes) -> Iterator[bytes]:
        """Yield the packets that `received` completes.

        Raises:
            PacketError: a packet is too large, or not framed; nothing after it can be read.
        """
        self._waiting += received
        if self._slip is None and self._waiting:
            # No length that is allowed begins with anything but 0.
            self._slip = self._waiting[0] != 0
        yield from self._ended() if self._slip else self._counted()

    def wrap(self, packet: bytes) -> bytes:
        """Return `packet` framed as the other side does it."""
        if self._slip:
            packet = packet.replace(ESC, ESC + ESC_ESC).replace(END, ESC + ESC_END)
            return END + packet + END
        return len(packet).to_bytes(4, "big") + packet

    def _counted(self) -> Iterator[bytes]:
        while len(self._waiting) >= 4:
            size = int.from_bytes(self._waiting[:4], "big")
            if not 0 < size <= MAX_PACKET:
                raise PacketError(f"a packet takes 1 to {MAX_PACKET} bytes, not {size}")
            if len(self._waiting) < 4 + size:
                return
            packet, self._waiting = self._waiting[4 : 4 + size], self._waiting[4 + size :]
            yield packet

    def _ended(self) -> Iterator[bytes]:
        *whole, self._waiting = self._waiting.split(END)
        if len(self._waiting) > 2 * MAX_PACKET:
            raise PacketError(f"a packet takes at most {MAX_PACKET} bytes")
        for packet in filter(None, whole):
            yield packet.replace(ESC + ESC_END, END).replace(ESC + ESC_ESC, ESC)
