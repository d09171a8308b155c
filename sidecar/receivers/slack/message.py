"""What Slack is sent: header, coloured body, footer, inside every limit that Slack sets.

Limits: docs.slack.dev, reference of blocks and of chat.postMessage. That all blocks together must
stay under about 13,200 characters is not documented; slackapi/bolt-js#2509 found it.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from markupsafe import Markup

from sidecar.notify.model import NoticeStatus, Notification, Reason
from sidecar.receivers.base import Rendered
from sidecar.receivers.slack.config import SlackConfig
from sidecar.render.renderer import Rendering, brief, plain_body, plain_title
from sidecar.render.words import BUTTONS, one_line, slack_date

Payload = dict[str, Any]  # what to post, without the channel
Block = dict[str, Any]

MAX_TEXT = 4000
MAX_SECTION = 3000
MAX_HEADER = 150
MAX_BLOCKS = 50
MAX_BUTTONS = 25
MAX_BUTTON = 75
MAX_URL = 3000
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
    "resolved": "#2e9e5b", "unseen": "#8a94a3", "closed": "#8a94a3",
}  # fmt: skip


# What is no part of a message, and only for whoever sends it: the messages to bring up to date,
# each with its name; the one in whose thread this is told; the sign for one whose alerts are over.
EDITS, THREAD, REACTION = "edits", "thread", "reaction"
_REACTIONS = {"resolved": "white_check_mark", "closed": "heavy_multiplication_x"} | dict.fromkeys(
    ("unseen", "critical", "error", "warning", "info"), "grey_question"
)

# Escaped by a filter of a template; Slack knows no such entities.
_QUOTES = {"&#34;": '"', "&#39;": "'"}


def render(config: SlackConfig, rendering: Rendering, *, plain: bool) -> Rendered[Payload]:
    """Return the message by the config's templates or the shipped ones, as plain text if asked.

    Plain is also what stands in where a template fails. With threads it says as well which messages
    are to be edited, and in whose thread it belongs.
    """
    made = _message(config, rendering, plain=plain)
    told = rendering.notification
    if plain or not config.threads or not told.roots:
        return made
    edits = [[root, _edited(config, rendering.about(told.about_root(root)))] for root in told.roots]
    payload = {**made.payload, EDITS: edits}
    if len(told.roots) == 1 and told.tells_of_known:
        payload |= {THREAD: told.roots[0], "reply_broadcast": _for_all(told)}
    return Rendered(payload, made.text)


def _edited(config: SlackConfig, rendering: Rendering) -> Payload:
    """Return what a message that was posted before is to say from now on."""
    payload = dict(_message(config, rendering, plain=False).payload)
    if not any(notice["open"] for notice in rendering.view["notices"]):
        payload[REACTION] = _REACTIONS[rendering.view["colour"]]
    # chat.update takes no more than what a message says.
    kept = ("text", "blocks", "attachments", REACTION)
    return {key: value for key, value in payload.items() if key in kept}


def _for_all(told: Notification) -> bool:
    """Tell whether what is told in a thread is for the whole channel to see."""
    ended = any(
        notice.status not in (NoticeStatus.FIRING, NoticeStatus.ESCALATED)
        and notice.labels.get("severity") == "critical"
        for notice in told.notices
    )
    return ended or told.reason in (Reason.ESCALATED, Reason.REPEAT)


def _message(config: SlackConfig, rendering: Rendering, *, plain: bool) -> Rendered[Payload]:
    view = rendering.view
    speaker = {} if plain else _speaker(config, rendering)
    title = None if plain else rendering.fill(config.title, "slack.title.j2", escape_title)
    text = None if plain else rendering.fill(config.text, "slack.text.j2", escape_slack)
    if title is None or text is None:
        # The fault first: what is long is cut at its end.
        notes = "".join(f"\nTemplate fault: {fault}" for fault in rendering.faults)
        made = plain_payload(plain_title(view) + notes, plain_body(view), brief(view))
        return Rendered(made | speaker, made["text"])
    for entity, quote in _QUOTES.items():
        title, text = title.replace(entity, quote), text.replace(entity, quote)
    header = one_line(title)
    made = payload(
        header,
        _short(header, view),
        text,
        _footer(view),
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


def _footer(view: dict[str, Any]) -> str:
    """Return why the message came, from where, and when, as mrkdwn."""
    because = f"{view['receiver']}, for {view['route']}" if view["route"] else view["receiver"]
    origin = ", ".join(f"{name}={value}" for name, value in view["external_labels"].items())
    parts = [_fit(part, _MAX_REST) for part in (view["reason"], because, origin) if part]
    return " · ".join([*parts, slack_date(view["at"])])


_DATE = re.compile(r"<!date\^[^|<>]*\|([^<>]*)>")


def shown(payload: Payload) -> str:
    """Return what a reader sees of a payload, line by line; instants in UTC."""
    attached = [block for one in payload.get("attachments", ()) for block in one["blocks"]]
    lines: list[str] = []
    for block in (*payload.get("blocks", ()), *attached):
        if "text" in block:
            lines.append(block["text"]["text"])
        lines += [_element(one) for one in block.get("elements", ())]
    return _DATE.sub(r"\1", "\n".join(lines) if lines else str(payload.get("text", "")))


def _element(element: dict[str, Any]) -> str:
    if element["type"] == "button":
        return f"[{element['text']['text']}] {element['url']}"
    return str(element["text"])


# Slack has no escape for its signs of markup, so a value has others that look like them; a `_`
# between letters or digits is none. https://docs.slack.dev/messaging/formatting-message-text
_SIGNS = str.maketrans({"*": "\u2217", "~": "\u223c", "`": "\u02cb"})
_EDGE = re.compile(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_EMOJI = re.compile(r":(?=(?:[a-z0-9_+'-]*[a-z+-][a-z0-9_+'-]*|100|1234):)", re.IGNORECASE)
_RULE = re.compile(r"^-+$", re.MULTILINE)
# Our own marks begin with a control character.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


def escape_slack(text: str) -> Markup:
    """Return a value as mrkdwn in which nothing of it is a mention, a link, markup or a divider."""
    return Markup(_entities(_RULE.sub(_dashes, escape_title(text))))  # noqa: S704 - this is the escaping


def escape_title(text: str) -> Markup:
    """Return a value for a header, which is plain text; codes of emoji are no emoji in it."""
    text = _CONTROL.sub(" ", text)
    return Markup(_EMOJI.sub("\ua789", _EDGE.sub("\uff3f", text.translate(_SIGNS))))  # noqa: S704 - same


def _dashes(found: re.Match[str]) -> str:
    return "\u2010" * len(found[0])


def _entities(text: str) -> str:
    """Escape the three characters that Slack takes as its own in any text."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


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

    `body` and `footer` are mrkdwn with escaped values, `title` and `short` (what a phone shows)
    hold no markup; `counts` and `rest` (how many alerts there are, and how many beside those of the
    body) are plain text. All of these have their room before the body is filled. `brief` has a line
    for each alert: where there is no room for all of `body`, each is still named.
    """
    blocks = [_context(_fit(text, _MAX_REST)) for text in (counts,) if text]
    blocks += _body_blocks(body, brief)
    blocks += [_section(_fit(text, _MAX_REST)) for text in (rest,) if text]
    return {
        "text": _cut_to(_entities(short), _MAX_SHORT),
        "blocks": [{"type": "header", "text": _plain_text(_cut_to(_entities(title), MAX_HEADER))}],
        "attachments": [{"color": colour, "blocks": [*blocks, _context(footer)]}],
        "unfurl_links": False,
        "unfurl_media": False,
    }


def plain_payload(head: str, body: str, brief: str) -> Payload:
    """Return the simplest payload there is, of plain texts; `brief` stands in for a long `body`."""
    text = str(escape_slack(f"{head}\n{body}"))
    if len(text) > MAX_TEXT:
        text = cut(f"{_fit(head, _MAX_HEAD)}\n{_lines(brief)}", MAX_TEXT)
    return {"text": text}


def _body_blocks(body: str, brief: str) -> list[Block]:
    """Return the body as sections, dividers and buttons, and if need be the brief."""
    parts = list(_parts(body))
    room = MAX_TOTAL - _ROOM
    blocks, whole = _filled(parts, room, _MOST_BODY)
    if whole:
        return blocks or [_section("(no text)")]
    last = list(map(_section, _pieces(_CUT + _lines(brief), MAX_SECTION)))
    blocks, _ = _filled(parts, room - len(_CUT + _lines(brief)), _MOST_BODY - len(last) - 1)
    return [*blocks, {"type": "divider"}, *last]


def _parts(body: str) -> Iterator[Block]:
    """Yield the blocks of a body: what a template wrote between its marks, and the marks' own."""
    text: list[str] = []
    for line in [*body.split("\n"), DIVIDER]:
        if line != DIVIDER and not line.startswith(BUTTONS):
            text.append(line)
            continue
        yield from map(_section, _pieces("\n".join(text).strip(), MAX_SECTION))
        text = []
        if line == DIVIDER:
            yield {"type": "divider"}
        elif elements := _buttons(line.removeprefix(BUTTONS)):
            yield {"type": "actions", "elements": elements}


def _buttons(line: str) -> list[Block]:
    return [
        {
            "type": "button",
            "action_id": f"link-{number}",
            "text": _plain_text(_cut_to(_entities(text), MAX_BUTTON)),
            "url": url,
        }
        for number, (text, url) in enumerate(json.loads(line)[:MAX_BUTTONS])
        if len(url) <= MAX_URL
    ]


def _filled(parts: Sequence[Block], room: int, most: int) -> tuple[list[Block], bool]:
    """Return what fits `room` characters in `most` blocks, and whether that is all.

    No divider stands first, last or beside another one.
    """
    blocks: list[Block] = []
    dividers: list[Block] = []
    for part in parts:
        if part["type"] == "divider":
            dividers = [part] if blocks else []
            continue
        size = _size(part)
        if len(blocks) + len(dividers) >= most:
            return blocks, False
        if size > room:
            text = part.get("text", {}).get("text", "")
            rest = cut(text, room) if text and room > _MAX_LINE else ""
            return [*blocks, *dividers, _section(rest + "…")] if rest else blocks, False
        blocks += [*dividers, part]
        dividers, room = [], room - size
    return blocks, True


def _size(block: Block) -> int:
    """Return how many characters count of a block."""
    elements = block.get("elements", ())
    return len(block.get("text", {}).get("text", "")) + sum(
        len(one["text"]["text"]) + len(one["url"]) for one in elements
    )


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
    return _cut_to(str(escape_slack(text)), size)


def _cut_to(escaped: str, size: int) -> str:
    return escaped if len(escaped) <= size else cut(escaped, size - 1).rstrip() + "…"


def _plain_text(text: str) -> Block:
    return {"type": "plain_text", "text": text or "Alert", "emoji": True}


def _mrkdwn(text: str) -> Block:
    # Verbatim: else Slack itself would make links and mentions of `#name`, `@here` and URLs.
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _section(text: str) -> Block:
    return {"type": "section", "text": _mrkdwn(text)}


def _context(text: str) -> Block:
    return {"type": "context", "elements": [_mrkdwn(text)]}


def _short(title: str, view: dict[str, Any]) -> str:
    """Return the title and, where it is about one alert alone, what that says of itself."""
    alone = sum(view["counts"].values()) == 1 and len(view["notices"]) == 1
    summary = escape_title(one_line(view["notices"][0]["summary"])) if alone else ""
    return f"{title}: {summary}" if summary else title
