"""Test the broadcast without a model that the screenshots in the docs show."""

import json
import time
from urllib.error import HTTPError
from urllib.request import urlopen

from docs.screenshots import running


def fetch(url: str) -> bytes:
    """Return the body at `url`, once there is a frame."""
    while True:
        try:
            with urlopen(url, timeout=10) as response:
                body: bytes = response.read()
                return body
        except HTTPError as error:
            if error.code != 503:
                raise
            time.sleep(0.01)


def test_the_preview_of_the_screenshots_shows_the_input_and_the_output() -> None:
    with running() as url:
        before, after = (fetch(f"{url.rstrip('/')}/{name}.jpg") for name in ("before", "after"))
        status = json.loads(fetch(f"{url.rstrip('/')}/stats"))
    assert before.startswith(b"\xff\xd8")
    assert after.startswith(b"\xff\xd8")
    assert before != after
    assert status["state"] == "running"
