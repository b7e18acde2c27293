"""Load for the control room, as a program of its own: pages that follow, and a sender of OSC.

``python -m streamcam.bench.control_clients WEBSOCKET-URL OSC-PORT`` runs until its input ends.
"""

import asyncio
import json
import math
import sys
import time

from pythonosc.udp_client import SimpleUDPClient
from websockets.asyncio.client import connect

PAGES = 10
CHANGES_PER_SECOND = 1000
BURST_S = 0.01
ADDRESSES = ("guidance_scale", "delta", "mix", "detail")
"""Numbers that are moved, each within 0 to 1."""


async def follow(url: str) -> None:
    """Read all that a page is sent, as a browser does."""
    async with connect(url, max_size=None) as page:
        async for message in page:
            json.loads(message)


async def move(port: int) -> None:
    """Move the numbers, `CHANGES_PER_SECOND` times in all."""
    client = SimpleUDPClient("127.0.0.1", port)
    count, start = 0, time.monotonic()
    while True:
        await asyncio.sleep(BURST_S)
        due = int((time.monotonic() - start) * CHANGES_PER_SECOND)
        for number in range(count, due):
            name = ADDRESSES[number % len(ADDRESSES)]
            client.send_message(f"/streamcam/{name}", 0.5 + 0.5 * math.sin(number / 400))
        count = due


async def run(url: str, port: int) -> None:
    """Do both until the input of the program ends."""
    tasks = [asyncio.create_task(follow(url)) for _ in range(PAGES)]
    tasks.append(asyncio.create_task(move(port)))
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    done, _ = await asyncio.wait([ended, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    for task in done:
        task.result()


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], int(sys.argv[2])))
