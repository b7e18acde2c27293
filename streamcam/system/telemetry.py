"""Turn off the usage statistics of other libraries, which read their settings when imported."""

import os
import sys

VARIABLES = {
    # Hugging Face's libraries, and others that follow the convention.
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Variables of the libraries; a value that the user has set stays."""

BLOCKED = "openvino_telemetry"
"""Package without a setting, which OpenVINO does without where it cannot be imported."""


def turn_off() -> None:
    """Turn statistics off in this process and its children, where they have not been chosen."""
    for name, text in VARIABLES.items():
        os.environ.setdefault(name, text)
    sys.modules.setdefault(BLOCKED, None)  # type: ignore[arg-type]
