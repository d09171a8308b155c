"""The status page: what the API knows, on one page that a person reads.

What events say is escaped. The page takes no script, style or other content but its own two, named
by their hashes (Content Security Policy 3), and nobody may put it into a frame.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from sidecar.render.words import duration, plain, utc
from sidecar.web.api import Api
from sidecar.web.fault import Refusal

ALERTS_AT_MOST = 200
LONGEST_QUESTION = 200
EXPLAINED_SECONDS = 7 * 86_400.0
_TEMPLATE = Path(__file__).with_name("page.html.j2")
_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


def page_route(api: Api) -> Route:
    """Return the route of the page about what `api` knows."""

    async def page(request: Request) -> Response:
        asked = request.query_params.get("q", "")[:LONGEST_QUESTION].strip()
        status = await api.status()
        known = {
            "status": status,
            "alerts": await api.alerts(),
            "rules": await api.rules(),
            "notifications": await api.notifications(),
            "silences": [one for one in await api.silences() if one["state"] != "expired"],
            "explained": await _explained(api, asked, status["now"]),
            **await api.events(),
        }
        html = await run_in_threadpool(render, known, asked)
        return HTMLResponse(html, headers=_headers())

    return Route("/", page)


async def _explained(api: Api, asked: str, now: float) -> dict[str, Any]:
    """Return what is known of why, if there are matchers such as `org_id=org_1` in a search."""
    matchers = [word for word in asked.split() if "=" in word]
    if not matchers:
        return {}
    try:
        return await api.explain(matchers, now - EXPLAINED_SECONDS)
    except Refusal as refusal:
        return {"rules": [], "trail": [], "fault": str(refusal)}


def render(known: Mapping[str, Any], asked: str) -> str:
    """Return the page about what is `known`; with `asked`, only what has all of its words."""
    words = asked.casefold().split()
    shown = {
        name: [one for one in value if _says(one, words)] if isinstance(value, list) else value
        for name, value in known.items()
    }
    alerts = shown["alerts"]
    return _template().render(
        **{**shown, "alerts": alerts[:ALERTS_AT_MOST]}, more=len(alerts[ALERTS_AT_MOST:]), q=asked
    )


def _says(value: Any, words: Iterable[str]) -> bool:
    text = str(value).casefold() if words else ""
    return all(word.replace("=", "': '") in text or word in text for word in words)


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"utc": utc, "span": duration, "plain": plain}
    return environment.from_string(_TEMPLATE.read_text())


@cache
def _headers() -> dict[str, str]:
    """Return what keeps a browser from anything but showing the page."""
    found = {kind: _hash(text) for kind, text in _INLINE.findall(_TEMPLATE.read_text())}
    policy = (
        f"default-src 'none'; script-src '{found['script']}'; style-src '{found['style']}'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
