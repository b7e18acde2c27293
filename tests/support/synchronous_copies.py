"""Copy streams for a device that works synchronously, as the CPU does."""

from collections.abc import Callable


class SynchronousCopyStreams:
    """Make every copy at once: the device has done all work by then."""

    pins = False

    def before(self, copy: Callable[[], object]) -> None:
        copy()

    def after(self, copy: Callable[[], object]) -> Callable[[], None]:
        copy()
        return _nothing

    def anew(self) -> None:
        return

    def settle(self) -> None:
        return


def _nothing() -> None:
    return
