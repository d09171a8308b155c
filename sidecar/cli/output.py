r"""What commands print. Each prints through here, so that one place keeps these promises:

- What a log says cannot steer the terminal: a control character is shown as `\u001b`, which is also
  how JSON writes it.
- Colour only on a terminal, and none where NO_COLOR is set (https://no-color.org).
- Columns stand under each other, whatever is in them, also where letters are two columns wide.

    say(paint("FAIL", "red"), " ", name)
"""

import os
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from sidecar.secret import printable, printable_letter

if TYPE_CHECKING:
    import re

    import re2

    from sidecar.syntax.faults import Fault

_TAB = _INDENT = "    "
_CUT = "…"
_VARIABLE = r"\$\{\w+(?::-)?\}"
_KEY = r"([\w.-]+)[\"']?\s*:(?:\s|$)"
_COLOURS = {
    "critical": "red", "error": "red", "warning": "yellow", "info": "blue",
    "firing": "red", "escalated": "red", "pending": "yellow", "resolved": "green",
}  # fmt: skip

FORMATS = ("github", "markdown", "junit")
# github.com/actions/toolkit, docs/commands.md: what would end the line, or a property of it.
_ESCAPED = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
_ESCAPED_PROPERTY = _ESCAPED | str.maketrans({":": "%3A", ",": "%2C"})


class Painted(NamedTuple):
    """A text in a colour, where there are any."""

    text: str
    colour: str | None = None
    bold: bool = False
    dim: bool = False


Part = str | Painted


def paint(
    text: str, colour: str | None = None, *, bold: bool = False, dim: bool = False
) -> Painted:
    return Painted(text, colour, bold, dim)


def by_word(word: str) -> Painted:
    """Return a severity or state in its colour."""
    return Painted(word, _COLOURS.get(word))


def say(*parts: Part, err: bool = False) -> None:
    """Print one line to stdout, or to stderr."""
    colours = has_colours(err=err)
    line = "".join(_shown(part, colours=colours) for part in parts)
    # What a locale's encoding does not have is escaped like what cannot be seen.
    encoding = (sys.stderr if err else sys.stdout).encoding or "utf-8"
    line = line.encode(encoding, "backslashreplace").decode(encoding)
    click.echo(line, err=err, color=colours)


def has_colours(*, err: bool = False) -> bool:
    stream = sys.stderr if err else sys.stdout
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _shown(part: Part, *, colours: bool) -> str:
    if isinstance(part, str):
        return printable(part)
    text = printable(part.text)
    if not colours or not text:
        return text
    return click.style(text, fg=part.colour, bold=part.bold or None, dim=part.dim or None)


def width(text: str) -> int:
    """Return how many columns of a terminal `text` takes (Unicode annex 11)."""
    return len(text) if text.isascii() else sum(map(_width, text))


def _width(letter: str) -> int:
    if unicodedata.category(letter) in ("Mn", "Me"):  # stands over the letter before
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def room() -> int:
    """Return how wide a line may be: the terminal, within bounds; 100 where there is none."""
    return max(60, min(160, shutil.get_terminal_size((100, 24)).columns))


def counted(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


# --- tables


def widths(rows: Iterable[Sequence[Part]]) -> list[int]:
    """Return how wide each column of a table must be; the last is as long as it likes."""
    columns = list(zip(*rows, strict=True))[:-1]
    return [max(width(printable(_text(cell))) for cell in column) for column in columns]


def say_row(
    cells: Sequence[Part], widths: Sequence[int], *, before: str = "", gap: str = "  "
) -> None:
    """Print one row of a table whose columns have these widths."""
    parts: list[Part] = [before]
    for cell, wide in zip(cells, widths, strict=False):
        parts += [cell, " " * (wide - width(printable(_text(cell)))) + gap]
    last = cells[-1]
    if not _text(last):
        parts[-1] = ""
    say(*parts, last)


def say_table(rows: Sequence[Sequence[Part]]) -> None:
    wide = widths(rows)
    for row in rows:
        say_row(row, wide)


def _text(part: Part) -> str:
    return part if isinstance(part, str) else part.text


# --- faults


def say_faults(faults: Iterable["Fault"], *, err: bool = False) -> None:
    """Print each fault, and below it the line where it stands with a caret at the column."""
    lines = cache(_lines)
    for fault in faults:
        place, _, message = str(fault).partition(f" {fault.severity}: ")
        severity = paint(f"{fault.severity}:", _COLOURS[fault.severity], bold=True)
        say(paint(place, bold=True), " ", severity, " ", message, err=err)
        whole = (fault.line, fault.column) == (1, 1)  # about the file, which may be a log
        if not whole and (found := excerpt(fault, lines(fault.file))):
            say(_INDENT, found[0], err=err)
            say(_INDENT, " " * found[1], paint("^", "green", bold=True), err=err)


def excerpt(fault: "Fault", lines: Sequence[str]) -> tuple[str, int] | None:
    """Return the line of a fault as it is written, cut around its column, and the caret's place.

    None where there is no such line, or where it may hold a secret.
    """
    if fault.line > len(lines) or _may_hold_secret(lines, fault.line - 1):
        return None
    line = lines[fault.line - 1]
    blank = len(line) - len(line.lstrip())
    at = min(len(line), blank if fault.column == 1 else fault.column - 1)
    return _around(line, at, room() - len(_INDENT))


def _around(line: str, at: int, most: int) -> tuple[str, int]:
    """Return what of `line` stands around `at` in so many columns, and the column of `at`."""
    start = max(0, at - most)
    cells = [
        _TAB if letter == "\t" else printable_letter(letter) for letter in line[start : at + most]
    ]
    first = last = at - start
    wide = 2 * len(_CUT)
    grown = True
    while grown:
        grown = False
        if last < len(cells) and wide + width(cells[last]) <= most:
            wide, last, grown = wide + width(cells[last]), last + 1, True
        if first > 0 and wide + width(cells[first - 1]) <= most:
            wide, first, grown = wide + width(cells[first - 1]), first - 1, True
    before = _CUT if start + first > 0 else ""
    after = _CUT if start + last < len(line) else ""
    caret = width(before + "".join(cells[first : at - start]))
    return before + "".join(cells[first:last]) + after, caret


def _may_hold_secret(lines: Sequence[str], index: int) -> bool:
    """Tell whether a line shows a secret: by its looks, or as the value of a key that is secret.

    A variable's name is none. The value of a key may begin, or go on, below it.
    """
    from sidecar.redact import is_secret_text  # noqa: PLC0415 - for those who have faults

    variable, key = _in_linear_time(_VARIABLE), _in_linear_time(_KEY)
    line = variable.sub("", lines[index])
    if is_secret_text(line) or any(map(_is_secret, key.finditer(line))):
        return True
    indents = len(line) - len(line.lstrip())
    above = [text for text in lines[max(0, index - 50) : index] if text.strip()]
    outer = [text for text in above if len(text) - len(text.lstrip()) < indents]
    nearest = outer[-1:] if key.search(line) else [*above[-1:], *outer[-1:]]
    begun = [keys[-1] for text in nearest if (keys := [*key.finditer(text)])]
    return any(_is_secret(found, begins=True) for found in begun)


def _is_secret(key: "re.Match[str]", *, begins: bool = False) -> bool:
    """Tell whether a key is a secret's and has a value on its line, or one that `begins` there."""
    from sidecar.redact import is_secret_name, plain_name  # noqa: PLC0415 - the same

    name = plain_name(key[1])
    value = key.string[key.end() :].lstrip(" \"'")
    return (begins or value[:1] not in ("", ",", "}", "]", "#")) and (
        is_secret_name(name)
        or name in ("url", "key")
        or name.endswith(("api_url", "proxy_url", "routing_key"))
    )


@cache
def _in_linear_time(pattern: str) -> "re2._Regexp":
    from sidecar.matchers import compile_re2  # noqa: PLC0415 - the same

    return compile_re2(pattern)


def _lines(file: str) -> list[str]:
    try:
        return Path(file).read_text("utf-8", errors="replace").removeprefix("\ufeff").splitlines()
    except (OSError, ValueError):
        return []


# --- faults, as machines of pull requests read them


def say_report(
    form: str, faults: Sequence["Fault"], passed: Sequence[tuple[str, str]] = ()
) -> None:
    """Print findings in one of FORMATS; `passed` are file and name of the cases that passed."""
    if form == "github":
        for fault in faults:
            say(_annotation(fault))
    elif form == "markdown":
        _say_table(faults)
    else:
        for line in _junit(faults, passed).splitlines():
            say(line)


def _annotation(fault: "Fault") -> str:
    file = fault.file.translate(_ESCAPED_PROPERTY)
    text = _message(fault).translate(_ESCAPED)
    return f"::{fault.severity} file={file},line={fault.line},col={fault.column}::{text}"


def _message(fault: "Fault") -> str:
    return f"{fault.message}; {fault.hint}" if fault.hint else fault.message


def _say_table(faults: Sequence["Fault"]) -> None:
    if not faults:
        say("Nothing found.")
        return
    say("| where | what |")
    say("|---|---|")
    for fault in faults:
        text = _message(fault).replace("|", "\\|").replace("\n", "<br>")
        say(f"| {fault.file}:{fault.line} | **{fault.severity}** {text} |")


def _junit(faults: Sequence["Fault"], passed: Sequence[tuple[str, str]]) -> str:
    failed = [fault for fault in faults if fault.severity == "error"]
    count = len(failed) + len(passed)
    from xml.etree.ElementTree import Element, SubElement, tostring  # noqa: PLC0415 - the same

    suite = Element("testsuite", name="sidecar", tests=f"{count}", failures=f"{len(failed)}")
    for file, name in passed:
        SubElement(suite, "testcase", classname=file, name=name)
    for fault in failed:
        name = fault.message.partition("\n")[0]
        case = SubElement(suite, "testcase", classname=fault.file, name=name)
        SubElement(
            case, "failure", message=name
        ).text = f"{fault.file}:{fault.line}: {_message(fault)}"
    return tostring(suite, encoding="unicode")
