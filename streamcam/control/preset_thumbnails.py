"""Thumbnails of the presets that come with streamcam, as files and as a route of the web server."""

from collections.abc import Mapping
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from streamcam.settings.presets import find_presets, shipped_folder

CACHED_S = 3600


def preset_thumbnails(presets: Mapping[str, Path] | None = None) -> dict[str, Path]:
    """Return the image file of each preset that has one, by name.

    A preset of the user that hides a shipped one of the same name has none.

    Args:
        presets: the presets by name, by default all that there are.
    """
    shipped = shipped_folder()
    found = find_presets() if presets is None else presets
    files = {
        name: shipped / "thumbnails" / f"{name}.jpg"
        for name, path in found.items()
        if path.parent.resolve() == shipped.resolve()
    }
    return {name: file for name, file in files.items() if file.is_file()}


def preset_thumbnail_route() -> Route:
    """Return the route ``/presets/NAME.jpg``: a JPEG of 160x90, or 404."""
    return Route("/presets/{name}.jpg", _send)


def _send(request: Request) -> Response:
    # Only a name from the list becomes a path.
    file = preset_thumbnails().get(request.path_params["name"])
    if file is None:
        return PlainTextResponse("this preset has no thumbnail", status_code=404)
    headers = {"Cache-Control": f"max-age={CACHED_S}"}
    return FileResponse(file, media_type="image/jpeg", headers=headers)
