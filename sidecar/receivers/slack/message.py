"""What Slack is sent: header, coloured body, footer, inside every limit that Slack sets.

Limits: docs.slack.dev, reference of blocks and of chat.postMessage. That all blocks together must
stay under about 13,200 characters is not documented; slackapi/bolt-js#2509 found it.
"""

import re
from collections.abc import Iterator
from typing import Any

from markupsafe import Markup

from sidecar.receivers.base import Rendered
from sidecar.receivers.slack.config import SlackConfig
from sidecar.render.renderer import Rendering, brief, plain_body, plain_title
from sidecar.render.sandbox import one_line, utc

Payload = dict[str, Any]  # what to post, without the channel

MAX_TEXT = 4000
MAX_SECTION = 3000
MAX_HEADER = 150
MAX_BLOCKS = 50
_MOST_BODY = MAX_BLOCKS - 4  # header, counts, what there is beside, and footer
MAX_TOTAL = 12_000  # of the 13,200, with room for header, footer and fallback

DIVIDER = "---"  # a line of its own in a template's text
_CUT = "_No room for all of it. In short:_\n"
# Fifty lines, with a title and a template's fault, fit into a plain text.
_MAX_LINE = 62
_MAX_HEAD = 800
_MAX_SHORT = _MAX_REST = 400
_ROOM = 1400  # for header, counts, rest and footer
# Where a text must not be cut: inside `<url|name>` or `&amp;`.
_UNCLOSED = re.compile(r"(?:<[^<>]*|&[a-z]{0,4})\Z")

_COLOURS = {
    "critical": "#c8102e", "error": "#e8590c", "warning": "#f2a900", "info": "#2e77d0",
    "resolved": "#2e9e5b", "unseen": "#8a94a3",
}  # fmt: skip


# Escaped by a filter of a template; Slack knows no such entities.
_QUOTES = {"&#34;": '"', "&#39;": "'"}


def render(config: SlackConfig, rendering: Rendering, *, plain: bool) -> Rendered[Payload]:
    """Return the message by the config's templates or the shipped ones, as plain text if asked.

    Plain is also what stands in where a template fails.
    """
    view = rendering.view
    speaker = {} if plain else _speaker(config, rendering)
    title = None if plain else rendering.fill(config.title, "slack.title.j2")
    text = None if plain else rendering.fill(config.text, "slack.text.j2", escape_slack)
    if title is None or text is None:
        # The fault first: what is long is cut at its end.
        notes = "".join(f"\nTemplate fault: {fault}" for fault in rendering.faults)
        made = plain_payload(plain_title(view) + notes, plain_body(view), brief(view))
        return Rendered(made | speaker, made["text"])
    for entity, quote in _QUOTES.items():
        text = text.replace(entity, quote)
    header = one_line(title)
    footer = f"{view['reason']} · {view['receiver']} · {utc(view['at'])}"
    made = payload(
        header,
        _short(header, view),
        text,
        footer,
        colour=_COLOURS[view["colour"]],
        counts=view["tally"],
        rest=view["rest"],
        brief=brief(view),
    )
    return Rendered(made | speaker, shown(made))


def _speaker(config: SlackConfig, rendering: Rendering) -> Payload:
    """Return the name and the emoji to speak under, where they are asked for."""
    asked = {"username": config.username, "icon_emoji": config.icon_emoji}
    filled = {name: rendering.fill(text, f"slack {name}") for name, text in asked.items() if text}
    return {name: one_line(text) for name, text in filled.items() if text}


def shown(payload: Payload) -> str:
    """Return what a reader sees of a payload: header, body and footer, line by line."""
    attached = [block for one in payload.get("attachments", ()) for block in one["blocks"]]
    lines: list[str] = []
    for block in (*payload.get("blocks", ()), *attached):
        if "text" in block:
            lines.append(block["text"]["text"])
        lines += [element["text"] for element in block.get("elements", ())]
    return "\n".join(lines) if lines else str(payload.get("text", ""))


def escape_slack(text: str) -> Markup:
    """Escape the three characters that Slack's mrkdwn takes as its own (formatting reference)."""
    return Markup(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))  # noqa: S704 - this is the escaping


def payload(
    title: str,
    short: str,
    body: str,
    footer: str,
    *,
    colour: str,
    brief: str,
    counts: str = "",
    rest: str = "",
) -> Payload:
    """Return what `chat.postMessage` and incoming webhooks take.

    `body` is mrkdwn whose values are escaped, all else plain text: `title`, `short` (what a phone
    shows), `counts` and `rest` (how many alerts there are, and how many beside those of the body)
    and `footer`, which have their room before the body is filled. `brief` has a line for each
    alert: where there is no room for all of `body`, each is still named.
    """
    blocks = [_context(text) for text in (counts,) if text]
    blocks += _body_blocks(body, brief)
    blocks += [_section(_fit(text, _MAX_REST)) for text in (rest,) if text]
    return {
        "text": _fit(short, _MAX_SHORT),
        "blocks": [{"type": "header", "text": _plain_text(_fit(title, MAX_HEADER))}],
        "attachments": [{"color": colour, "blocks": [*blocks, _context(footer)]}],
    }


def plain_payload(head: str, body: str, brief: str) -> Payload:
    """Return the simplest payload there is, of plain texts; `brief` stands in for a long `body`."""
    text = str(escape_slack(f"{head}\n{body}"))
    if len(text) > MAX_TEXT:
        text = cut(f"{_fit(head, _MAX_HEAD)}\n{_lines(brief)}", MAX_TEXT)
    return {"text": text}


def _body_blocks(body: str, brief: str) -> list[dict[str, Any]]:
    """Return the body as sections, a divider for each `---` line, and if need be the brief."""
    room = MAX_TOTAL - _ROOM
    blocks, whole = _filled(body, room, _MOST_BODY)
    if whole:
        return blocks or [_section("(no text)")]
    last = list(map(_section, _pieces(_CUT + _lines(brief), MAX_SECTION)))
    blocks, _ = _filled(body, room - len(_CUT + _lines(brief)), _MOST_BODY - len(last) - 1)
    return [*blocks, {"type": "divider"}, *last]


def _filled(body: str, room: int, most: int) -> tuple[list[dict[str, Any]], bool]:
    """Return what of the body fits `room` characters in `most` blocks, and whether that is all."""
    blocks: list[dict[str, Any]] = []
    for part in re.split(rf"(?m)^{DIVIDER}$", body):
        before = [{"type": "divider"}] if blocks else []
        for text in _pieces(part.strip(), MAX_SECTION):
            if len(blocks) + len(before) >= most:
                return blocks, False
            if len(text) > room:
                rest = cut(text, room) if room > _MAX_LINE else ""
                return [*blocks, *before, _section(rest + "…")] if rest else blocks, False
            blocks += [*before, _section(text)]
            before, room = [], room - len(text)
    return blocks, True


def _lines(brief: str) -> str:
    """Return plain lines escaped, none of them long."""
    return "\n".join(_fit(line, _MAX_LINE) for line in brief.splitlines())


def _pieces(text: str, size: int) -> Iterator[str]:
    """Yield `text` in pieces of at most `size`, broken at line ends where there are any."""
    while len(text) > size:
        piece = cut(text, size)
        line = piece.rfind("\n")
        if line > size // 2:
            piece = piece[:line]
        yield piece
        text = text[len(piece) :].lstrip("\n")
    if text:
        yield text


def cut(text: str, size: int) -> str:
    """Return the first `size` characters of mrkdwn, ending before a link or entity they break."""
    if len(text) <= size:
        return text
    return _UNCLOSED.sub("", text[:size]) or text[:size]


def _fit(text: str, size: int) -> str:
    """Escape plain `text`, shortened so that it has at most `size` characters afterwards."""
    escaped = str(escape_slack(text))
    return escaped if len(escaped) <= size else cut(escaped, size - 1).rstrip() + "…"


def _plain_text(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text or "Alert", "emoji": True}


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def _context(text: str) -> dict[str, Any]:
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": _fit(text, _MAX_REST)}]}


def _short(title: str, view: dict[str, Any]) -> str:
    """Return the title and, where it is about one alert alone, what that says of itself."""
    alone = sum(view["counts"].values()) == 1 and len(view["notices"]) == 1
    summary = one_line(view["notices"][0]["summary"]) if alone else ""
    return f"{title}: {summary}" if summary else title
