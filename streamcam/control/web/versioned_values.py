"""Values by name, each with the version at which it changed last."""

import json
from collections.abc import Mapping
from typing import Any


class VersionedValues:
    """Newest values, of which every reader is given those that it has not had.

    However slow a reader is, nothing waits for it: an older value gives way to a newer one.

    Args:
        kind: type of the JSON messages that carry them.
    """

    def __init__(self, kind: str) -> None:
        self.version = 0
        self._kind = kind
        self._values: dict[str, tuple[Any, int]] = {}
        self._texts: dict[int, str] = {}

    def update(self, values: Mapping[str, Any]) -> bool:
        """Take the new ones among `values`; return whether there were any."""
        new = {
            name: value
            for name, value in values.items()
            if name not in self._values or self._values[name][0] != value
        }
        if new:
            self.version += 1
            self._texts.clear()
            self._values |= {name: (value, self.version) for name, value in new.items()}
        return bool(new)

    def since(self, version: int) -> dict[str, Any]:
        """Return the values that are newer than `version`; 0 gives all."""
        return {name: value for name, (value, at) in self._values.items() if at > version}

    def text_since(self, version: int) -> str:
        """Return a message with the values newer than `version`, encoded once for all readers."""
        if version not in self._texts:
            message = {"type": self._kind, "values": self.since(version)}
            self._texts[version] = json.dumps(message)
        return self._texts[version]
