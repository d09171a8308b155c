"""Findings as machines of pull requests read them: GitHub's annotations, Markdown, JUnit's XML."""

from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, tostring

from sidecar.cli.output import say
from sidecar.syntax.faults import Fault

FORMATS = ("github", "markdown", "junit")
# github.com/actions/toolkit, docs/commands.md: what would end the line, or a property of it.
_ESCAPED = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
_ESCAPED_PROPERTY = _ESCAPED | str.maketrans({":": "%3A", ",": "%2C"})


def say_report(form: str, faults: Sequence[Fault], passed: Sequence[tuple[str, str]] = ()) -> None:
    """Print findings in one of FORMATS; `passed` are file and name of the cases that passed."""
    if form == "github":
        for fault in faults:
            say(_annotation(fault))
    elif form == "markdown":
        _say_table(faults)
    else:
        for line in _junit(faults, passed).splitlines():
            say(line)


def _annotation(fault: Fault) -> str:
    file = fault.file.translate(_ESCAPED_PROPERTY)
    text = _text(fault).translate(_ESCAPED)
    return f"::{fault.severity} file={file},line={fault.line},col={fault.column}::{text}"


def _text(fault: Fault) -> str:
    return f"{fault.message}; {fault.hint}" if fault.hint else fault.message


def _say_table(faults: Sequence[Fault]) -> None:
    if not faults:
        say("Nothing found.")
        return
    say("| where | what |")
    say("|---|---|")
    for fault in faults:
        text = _text(fault).replace("|", "\\|").replace("\n", "<br>")
        say(f"| {fault.file}:{fault.line} | **{fault.severity}** {text} |")


def _junit(faults: Sequence[Fault], passed: Sequence[tuple[str, str]]) -> str:
    failed = [fault for fault in faults if fault.severity == "error"]
    count = len(failed) + len(passed)
    suite = Element("testsuite", name="sidecar", tests=f"{count}", failures=f"{len(failed)}")
    for file, name in passed:
        SubElement(suite, "testcase", classname=file, name=name)
    for fault in failed:
        name = fault.message.partition("\n")[0]
        case = SubElement(suite, "testcase", classname=fault.file, name=name)
        SubElement(
            case, "failure", message=name
        ).text = f"{fault.file}:{fault.line}: {_text(fault)}"
    return tostring(suite, encoding="unicode")
