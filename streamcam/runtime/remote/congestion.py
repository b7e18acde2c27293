"""Congestion control for a few frames at a time, on networks that lose packets at random.

Frames are limited by credit: few are in flight at any time, so a queue in the network cannot
grow for long. The usual control (Reno) takes every lost packet for a full queue: at 30 ms and 3 %
of random loss it would send 0.3 MB/s. This one slows down where packets take longer, or where so
many are lost that it cannot be chance.
"""

from collections.abc import Iterable
from typing import Any

from aioquic.quic.congestion.base import QuicCongestionControl, register_congestion_control

NAME = "frames"
LEAST_WINDOW = 16
MOST_WINDOW = 1024
"""Packets in flight at a time, at least and at most: 1.2 MB is some frames."""
CHANCE = 0.1
"""Share of lost packets up to which loss is taken for chance."""
ROUND_PACKETS = 64
"""Packets after which the share is judged."""
QUEUED_S = 0.05
"""How much longer than the shortest a round trip may take before a queue is suspected."""


class FramesCongestionControl(QuicCongestionControl):
    """Window that grows by what arrives, and shrinks by delay or by heavy loss."""

    def __init__(self, *, max_datagram_size: int) -> None:
        super().__init__(max_datagram_size=max_datagram_size)
        self._packet = max_datagram_size
        self.congestion_window = 64 * max_datagram_size
        self._arrived = self._lost = 0
        self._shortest_s = float("inf")
        self._next_cut_at = 0.0

    def on_packet_acked(self, *, now: float, packet: Any) -> None:  # noqa: ARG002
        self.bytes_in_flight -= packet.sent_bytes
        self._arrived += 1
        self._set_window(self.congestion_window + packet.sent_bytes // 8)
        self._judge()

    def on_packet_sent(self, *, packet: Any) -> None:
        self.bytes_in_flight += packet.sent_bytes

    def on_packets_expired(self, *, packets: Iterable[Any]) -> None:
        self.bytes_in_flight -= sum(packet.sent_bytes for packet in packets)

    def on_packets_lost(self, *, now: float, packets: Iterable[Any]) -> None:  # noqa: ARG002
        lost = [packet.sent_bytes for packet in packets]
        self.bytes_in_flight -= sum(lost)
        self._lost += len(lost)
        self._judge()

    def on_persistent_congestion(self) -> None:
        self._set_window(0)

    def on_rtt_measurement(self, *, now: float, rtt: float) -> None:
        self._shortest_s = min(self._shortest_s, rtt)
        if rtt > 2 * self._shortest_s + QUEUED_S and now >= self._next_cut_at:
            # Only once in a while: what is in flight already will be late too.
            self._next_cut_at = now + rtt
            self._set_window(self.congestion_window * 3 // 4)

    def _judge(self) -> None:
        total = self._arrived + self._lost
        if total < ROUND_PACKETS:
            return
        if self._lost > CHANCE * total:
            self._set_window(self.congestion_window // 2)
        self._arrived = self._lost = 0

    def _set_window(self, size: int) -> None:
        least, most = LEAST_WINDOW * self._packet, MOST_WINDOW * self._packet
        self.congestion_window = min(max(size, least), most)


register_congestion_control(NAME, FramesCongestionControl)
