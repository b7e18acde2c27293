"""Commands for the outputs of a broadcast: try one again that has failed."""

from collections.abc import Callable, Sequence

from streamcam.control.command_declaration import Command
from streamcam.control.messages import Argument
from streamcam.errors import ParameterError, suggest

SINK_COMMANDS = {
    "sink/retry": Command(
        "text",
        "none; name of an output",
        "Open an output that has failed again at once, rather than after its pause; without a"
        " name, all of them.",
        "there is no broadcast whose outputs could be opened again",
    ),
}
"""By address without the prefix."""


def retry_sinks(
    arguments: Sequence[Argument], sinks: Sequence[str], retry: Callable[[str], bool]
) -> None:
    """Retry the sink that `arguments` name, or all.

    Args:
        arguments: those of ``sink/retry``.
        sinks: names of all.
        retry: retries the sink of that name, and returns whether it had failed.

    Raises:
        ParameterError: there is no such sink, or it has not failed.
    """
    name = str(arguments[0]) if arguments else ""
    if name and name not in sinks:
        raise ParameterError(f'no output "{name:.80}": {suggest(name[:80], sinks)}')
    had_failed = [retry(sink) for sink in ([name] if name else sinks)]
    if not any(had_failed):
        raise ParameterError(f"{name} works" if name else "every output works")
