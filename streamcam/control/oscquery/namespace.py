"""Namespace: the OSC addresses as a tree of containers and methods, with their present values."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from streamcam.control.addresses import OWN_VALUE
from streamcam.control.messages import Argument
from streamcam.control.osc.feedback import feedback_rows, stat_messages
from streamcam.control.oscquery.method import READABLE, Method
from streamcam.control.surface import ControlSurface
from streamcam.stats import Status

Values = Mapping[str, Sequence[Argument]]
"""Arguments by address."""
SENT_ONLY = ("error", "warning", "pong")
"""Addresses of answers, which hold no value."""


class Namespace:
    """The tree that OSCQuery shows.

    Clients make an interface of it, and take each node for either a container or a method. So
    one that is both is shown as a container, with its own value below it as ``value``; forms of
    an address that has a name of its own (``/norm``, ``/opacity``) are not in the tree. All of
    them are answered when asked for.
    """

    def __init__(self, surface: ControlSurface, status: Callable[[], Status]) -> None:
        """Read the tables.

        Args:
            surface: whose addresses and values are shown.
            status: returns the state of the broadcast.
        """
        self._surface = surface
        self._status = status
        self.prefix = surface.prefix
        self._methods: dict[str, Method] = {}
        """Every method, by its path and by its address."""
        self._contents: dict[str, list[str]] = {"/": []}
        """Paths below each container."""
        primary: list[str] = []
        for row in [*surface.addresses.rows(), *feedback_rows(self.prefix)]:
            name = row.address.removeprefix(f"{self.prefix}/")
            if not row.address.startswith(f"{self.prefix}/") or name in SENT_ONLY:
                continue
            method = Method.of_row(row, surface.config.num_steps)
            if span := surface.addresses.fader_span(row):
                # Its RANGE is the whole one: clients clip what they receive to that.
                method = replace(method, description=f"{row.description} Fader: {span}.")
            self._methods[row.address] = method
            if not surface.addresses.is_secondary(row.address):
                primary.append(row.address)
        folders = {folder for address in primary for folder in _above(address)}
        for address in primary:
            path = f"{address}/{OWN_VALUE}" if address in folders else address
            self._methods[path] = self._methods[address]
            self._add(path)

    def __contains__(self, path: str) -> bool:
        return path in self._contents or path in self._methods

    def method(self, path: str) -> Method | None:
        """Return the method at `path`, None if there is none."""
        return self._methods.get(path)

    def is_container(self, path: str) -> bool:
        return path in self._contents

    def methods_below(self, path: str) -> Iterator[str]:
        """Yield the paths of the methods below a container."""
        for child in self._contents[path]:
            if child in self._contents:
                yield from self.methods_below(child)
            else:
                yield child

    def values(self, *, with_status: bool = True) -> dict[str, Sequence[Argument]]:
        """Return every value that there is now, by address."""
        values: dict[str, Sequence[Argument]] = {
            message.address: message.arguments for message in self._surface.values()
        }
        if with_status:
            figures = stat_messages(self.prefix, self._status())
            values |= {message.address: message.arguments for message in figures}
        return values

    def is_figure(self, path: str) -> bool:
        """Return whether the value at `path` is a figure of the status."""
        return path.startswith(f"{self.prefix}/stat/")

    def choices(self, method: Method, values: Values) -> Sequence[str]:
        """Return the words that a method takes, at present."""
        if not method.names:
            return method.choices
        return [str(name) for name in values.get(f"{self.prefix}/{method.names}", ())]

    def changed_choices(self, before: Values, after: Values) -> list[str]:
        """Return the paths in the tree of the methods that take other words than before."""
        return [
            path
            for path in self.methods_below("/")
            if self.choices(self._methods[path], before) != self.choices(self._methods[path], after)
        ]

    def describe(self, path: str, values: Values | None = None) -> dict[str, Any]:
        """Return all attributes of a container, with all below it, or of a method."""
        values = self.values() if values is None else values
        if path not in self._contents:
            return self.describe_method(path, values)
        return {
            "FULL_PATH": path,
            "DESCRIPTION": "",
            "ACCESS": 0,
            "CONTENTS": {
                child.rpartition("/")[2]: self.describe(child, values)
                for child in self._contents[path]
            },
        }

    def describe_method(self, path: str, values: Values | None = None) -> dict[str, Any]:
        """Return the attributes of the method at `path`, though it may be a container too."""
        values = self.values() if values is None else values
        method = self._methods[path]
        arguments = values.get(method.address, ()) if method.access & READABLE else ()
        return method.attributes(path, arguments, self.choices(method, values))

    def _add(self, path: str) -> None:
        child = path
        for folder in [*_above(path), "/"]:
            below = self._contents.setdefault(folder, [])
            if child in below:
                return
            below.append(child)
            child = folder


def _above(address: str) -> Iterator[str]:
    """Yield the containers that `address` is in, but for the root, the innermost first."""
    while address := address.rpartition("/")[0]:
        yield address
