"""MIDI ports in memory: a backend for mido, so that its own parser reads real bytes."""

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

mido = pytest.importorskip("mido")
ports = importlib.import_module("mido.ports")


class MemoryMidi:
    """The ports of a machine, which a test plugs in, plays and unplugs."""

    def __init__(self, *names: str) -> None:
        self.inputs: list[str] = list(names)
        self.outputs: list[str] = list(names)
        self.opened: dict[str, Any] = {}
        """The open inputs by name."""
        self.sent: list[tuple[str, list[int]]] = []
        """Names of outputs and the bytes sent to them."""
        self.busy: set[str] = set()
        """Ports that another program has."""
        self.failing = False
        """Sending raises, as for a device that is gone."""
        module = ModuleType(f"memory_midi_{id(self)}")
        module.get_devices = self._devices  # type: ignore[attr-defined]
        module.Input = self._class("Input", ports.BaseInput)  # type: ignore[attr-defined]
        module.Output = self._class("Output", ports.BaseOutput)  # type: ignore[attr-defined]
        sys.modules[module.__name__] = module
        self.backend = mido.Backend(module.__name__, use_environ=False)

    def use(self) -> Any:
        """Return the backend, as `load_backend` does."""
        return self.backend

    def play(self, name: str, *data: int) -> None:
        """Let the device at an input send bytes."""
        parser = mido.Parser(data)
        for message in parser:
            self.opened[name].callback(message)

    def plug_in(self, name: str) -> None:
        self.inputs.append(name)
        self.outputs.append(name)

    def unplug(self, name: str) -> None:
        self.inputs.remove(name)
        self.outputs.remove(name)

    def _devices(self, **_options: Any) -> list[dict[str, Any]]:
        names = dict.fromkeys([*self.inputs, *self.outputs])
        return [
            {"name": n, "is_input": n in self.inputs, "is_output": n in self.outputs} for n in names
        ]

    def _class(self, kind: str, base: type) -> type:
        rig = self

        def _open(
            port: Any, callback: Callable[[Any], object] | None = None, **_options: Any
        ) -> None:
            if port.name in rig.busy:
                raise OSError("Device or resource busy")
            port.callback = callback
            if kind == "Input":
                rig.opened[port.name] = port

        def _close(port: Any) -> None:
            if rig.opened.get(port.name) is port:
                del rig.opened[port.name]

        def _send(port: Any, message: Any) -> None:
            if rig.failing:
                raise OSError("No such device")
            rig.sent.append((port.name, message.bytes()))

        return type(kind, (base,), {"_open": _open, "_close": _close, "_send": _send})
