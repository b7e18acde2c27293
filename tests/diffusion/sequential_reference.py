"""Lanes for a device that is done with what it is asked when it answers, as the processor is."""

from collections.abc import Callable


class InTurn:
    """One after the other, on a device that is done with what it is asked when it answers."""

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
