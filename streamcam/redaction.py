"""URLs without the passwords and tokens in them, for logs, messages and status."""

import re

URL = re.compile(r"""\b(?P<scheme>[a-z][a-z0-9+.-]*:)//(?P<rest>[^\s"'<>|]*)""", re.IGNORECASE)
LOGIN = re.compile(r"""(?<![^\s"'=(/])[^\s:/@"'=(]{1,200}:[^\s@/"']{1,200}@(?=[\w\[])""")
"""What looks like ``user:password@host`` without a scheme."""
TRAILING = ".,:;)]}!"
"""Punctuation of the sentence that a URL stands in."""
KEYED_PATHS = frozenset(("rtmp:", "rtmps:"))
"""Schemes whose last part of the path is the key of the stream."""


def redacted(text: str) -> str:
    """Return `text` with every URL in it cut down to scheme, host and path.

    Left out are user and password, the query, and the key of an RTMP stream: cameras and
    streaming services let in whoever knows these.
    """
    return LOGIN.sub("", URL.sub(_without_secrets, text)) if ":" in text else text


def redacted_url(url: str) -> str:
    """Return `redacted(url)` for text that is one URL as a whole, whatever characters it has."""
    return redacted(re.sub(r"""[\s"'<>|]""", "_", url)) if "://" in url else redacted(url)


def _without_secrets(match: re.Match[str]) -> str:
    rest = match["rest"]
    body = rest.rstrip(TRAILING)
    # A password may hold any of / ? # @ as it is, so the host begins after the last "@".
    host_and_path = re.split(r"[?;]|#(?=.*=)", body.rpartition("@")[2], maxsplit=1)[0]
    if match["scheme"].lower() in KEYED_PATHS and host_and_path.count("/") > 1:
        host_and_path = f"{host_and_path.rpartition('/')[0]}/***"
    return f"{match['scheme']}//{host_and_path}{rest[len(body) :]}"
