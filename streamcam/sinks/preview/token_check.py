"""Check of the token that a page opened to the network asks everybody for."""

import logging
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamcam.limits import RateLimiter
from streamcam.system.web_tokens import OPERATOR, WebTokens

log = logging.getLogger(__name__)

WRONG_PER_SECOND = 0.5
WRONG_AT_ONCE = 10
"""Tokens of a host that are looked at before it has sent a right one."""
WARNING_S = 60.0
"""Seconds between two lines about the same host."""
MAX_HOSTS = 1024
NO_STORE = {"Cache-Control": "no-store"}
NO_TOKEN = (
    "this page asks for a token: open the link that streamcam has shown in its terminal,"
    " which ends with ?token=…"
)
WRONG = "the token is wrong: open the link that streamcam has shown in its terminal"
TOO_MANY = "too many wrong tokens from your address; wait a few seconds"


class TokenCheck:
    """Answers only whoever has a token: in the URL, in the cookie that it then sets, or as Bearer.

    The role that the token gives stands in ``scope["role"]`` for the routes.

    Args:
        app: answers the others.
        tokens: those of the broadcast.
        required: whether a token is needed; without one, everybody is an operator.
        port: of the page, as cookies do not tell the ports of a host apart.
    """

    def __init__(self, app: ASGIApp, tokens: WebTokens, *, required: bool, port: int) -> None:
        self._app = app
        self._tokens = tokens
        self._required = required
        self._cookie = f"streamcam_{port}"
        self._attempts = RateLimiter(WRONG_PER_SECOND, WRONG_AT_ONCE)
        self._warnings = RateLimiter(1 / WARNING_S, 1)
        self._known: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._required:
            scope["role"] = OPERATOR
            await self._app(scope, receive, send)
            return
        in_url = QueryParams(scope["query_string"]).get("token", "")
        token = in_url or self._token_in_headers(Headers(scope=scope))
        host = (scope["client"] or ("",))[0]
        role, refusal = self._role_of(token, host, "URL" if in_url else "headers")
        if role is None:
            await self._refuse(refusal, scope, receive, send)
            return
        scope["role"] = role
        await self._app(scope, receive, self._with_cookie(send, in_url) if in_url else send)

    def _role_of(self, token: str, host: str, place: str) -> tuple[str | None, str]:
        """Return the role that `token` gives to `host`, or None and why it is refused."""
        if not token:
            return None, NO_TOKEN
        role = self._tokens.role_of(token) if host in self._known else None
        if role:
            return role, ""
        # Each place on its own: a page that was left open from another run tries its cookie again
        # and again, and shall not keep out whoever opens the new link.
        if not self._attempts.take((host, place)):
            # Not looked at: whoever tries one after the other shall not learn which is right.
            self._warn(host)
            return None, TOO_MANY
        role = self._tokens.role_of(token)
        if role is None:
            self._warn(host)
            return None, WRONG
        if len(self._known) >= MAX_HOSTS:
            self._known.clear()
        self._known.add(host)
        return role, ""

    def _warn(self, host: str) -> None:
        if self._warnings.take(host):
            log.warning("the page has refused %s, whose token is wrong", host)

    def _token_in_headers(self, headers: Headers) -> str:
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return bearer.strip()
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return ""
        return cookies[self._cookie].value if self._cookie in cookies else ""

    def _with_cookie(self, send: Send, token: str) -> Send:
        """Return a `send` that also sets the cookie, so that all else on the page has the token."""
        cookie = SimpleCookie({self._cookie: token})
        cookie[self._cookie] |= {"path": "/", "httponly": True, "samesite": "Strict"}

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.append("set-cookie", cookie[self._cookie].OutputString())
            await send(message)

        return send_with_cookie

    async def _refuse(self, why: str, scope: Scope, receive: Receive, send: Send) -> None:
        status = 429 if why == TOO_MANY else 401
        headers = NO_STORE | ({"Retry-After": "5"} if status == 429 else {})
        await PlainTextResponse(why, status, headers=headers)(scope, receive, send)
