"""A child process that stands in for one that encodes texts: it starts at once, without torch."""

import base64
import json
import sys

import numpy as np
from safetensors.numpy import save


def serve() -> None:
    """Answer each text by its length; end at an empty one."""
    sys.stdin.readline()
    for line in sys.stdin:
        if not (text := json.loads(line)):
            sys.exit(3)
        tensors = save({"embeds": np.full((1, 77, 4), len(text), np.float32)})
        answer = {"tensors": base64.b64encode(tensors).decode(), "notes": {"dropped_tokens": 2}}
        print(json.dumps(answer), flush=True)
