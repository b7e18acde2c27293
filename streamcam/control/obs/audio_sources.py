"""Audio sources of OBS whose sync offset is set, and their offsets from before."""

from collections.abc import Callable, Sequence

from streamcam.control.obs.connection import ObsConnection, RequestError

MAX_LISTED = 12
"""Sources that a message lists."""


class AudioSources:
    """Sets one offset for all sources, and gives each its own back in the end.

    Args:
        names: of the sources, as in OBS.
        report: takes a line for the log.
    """

    def __init__(self, names: Sequence[str], report: Callable[[str], None]) -> None:
        self._names = names
        self._report = report
        self._before: dict[str, int] = {}
        """Offsets from before the first that was set."""
        self._set: dict[str, int] = {}
        """Offsets that were set, in this connection."""
        self._missing: set[str] = set()

    def reconnected(self, obs: ObsConnection) -> None:
        """Look for the sources; report those that there are where none is named."""
        self._set.clear()
        if not self._names and not self._missing:
            self._missing.add("")
            self._report(
                "OBS: no audio is delayed; to keep it in step with the output, name a source:"
                f" --set obs_audio=NAME ({_listed(obs)})"
            )

    def set(self, obs: ObsConnection, offset_ms: int | None) -> None:
        """Set the offset of the sources that have another; None sets none, but looks for them."""
        for name in self._names:
            if self._set.get(name) == offset_ms and name in self._set:
                continue
            try:
                if name not in self._before:
                    answer = obs.request("GetInputAudioSyncOffset", inputName=name)
                    self._before[name] = int(answer["inputAudioSyncOffset"])
                if offset_ms is not None:
                    _set_offset(obs, name, offset_ms)
                    self._set[name] = offset_ms
            except RequestError:
                if name not in self._missing:
                    self._missing.add(name)
                    self._report(f'OBS has no audio source "{name}" ({_listed(obs)})')
            else:
                self._missing.discard(name)

    def restore(self, obs: ObsConnection) -> None:
        """Give the sources the offsets from before, but for those that somebody has set since."""
        for name, offset_ms in self._set.items():
            try:
                answer = obs.request("GetInputAudioSyncOffset", inputName=name)
                if int(answer["inputAudioSyncOffset"]) == offset_ms:
                    _set_offset(obs, name, self._before[name])
            except RequestError:
                continue  # It has been deleted.
        self._set.clear()


def _set_offset(obs: ObsConnection, name: str, offset_ms: int) -> None:
    obs.request("SetInputAudioSyncOffset", inputName=name, inputAudioSyncOffset=offset_ms)


def _listed(obs: ObsConnection) -> str:
    """Return the names of the audio sources that there are, in a few words."""
    inputs = obs.request("GetInputList").get("inputs") or []
    names = [str(found.get("inputName")) for found in inputs]
    audible = [name for name in names[: 4 * MAX_LISTED] if _has_audio(obs, name)][:MAX_LISTED]
    return f"there are {', '.join(audible)}" if audible else "there are none"


def _has_audio(obs: ObsConnection, name: str) -> bool:
    try:
        obs.request("GetInputAudioSyncOffset", inputName=name)
    except RequestError:
        return False
    return True
