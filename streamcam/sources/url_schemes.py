"""URL schemes that streams are read over."""

LIVE_SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "udp", "rtp", "srt", "tcp")
"""Protocols whose frames arrive as they are captured."""
STORED_SCHEMES = ("http", "https")
"""Protocols that also serve files, which arrive faster than they are to be shown."""
SCHEMES = (*STORED_SCHEMES, *LIVE_SCHEMES)


def is_http(url: str) -> bool:
    """Return whether `url` may lead to a file as well as to a live stream."""
    return url.partition(":")[0].lower() in STORED_SCHEMES
