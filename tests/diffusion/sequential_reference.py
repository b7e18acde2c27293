"""Lanes for a device that is done with what it is asked when it answers, as the processor is."""

from collections.abc import Callable


class InTurn:
    """One after the other, on a device that is done with what it is asked when it answers."""

    pins = False

    def upload(self, copy: Callable[[], object]) -> None:
        copy()

    def download(self, copy: Callable[[], object]) -> Callable[[], None]:
        copy()
        return _nothing

    def wait_for_model(self) -> None:
        return

    def synchronize(self) -> None:
        return


def _nothing() -> None:
    return
