"""Tokens that let another machine in to the page: one for operators, one for viewers."""

import hashlib
import hmac
import secrets
from typing import NamedTuple
from urllib.parse import quote

OPERATOR, VIEWER = "operator", "viewer"
"""Roles: who may change everything, and who may only watch."""


class WebLinks(NamedTuple):
    """URLs of the page, each with its token."""

    operator: str
    viewer: str


class WebTokens:
    """The two tokens of a broadcast, random for each run unless one is given.

    Args:
        operator: the operator's token, which the viewer's follows from; None draws one.
    """

    def __init__(self, operator: str | None = None) -> None:
        self.is_fixed = operator is not None
        """Whether the token was given, so that it is asked for on this machine too."""
        self._operator = operator or secrets.token_urlsafe(16)
        # One way: nobody who may watch can work out the other one.
        digest = hmac.digest(self._operator.encode(), b"viewer", hashlib.sha256)
        self._viewer = digest.hex()[:24]

    def role_of(self, token: str) -> str | None:
        """Return the role that `token` gives, None if it is wrong."""
        given = token.encode(errors="surrogateescape")
        if hmac.compare_digest(given, self._operator.encode()):
            return OPERATOR
        return VIEWER if hmac.compare_digest(given, self._viewer.encode()) else None

    def links(self, page: str) -> WebLinks:
        """Return the links to `page`, a URL without a query."""
        operator, viewer = quote(self._operator), quote(self._viewer)
        return WebLinks(f"{page}?token={operator}", f"{page}?token={viewer}")
