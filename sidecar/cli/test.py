"""`sidecar test`: runs the cases of rule tests and shows where they fail, side by side."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from fnmatch import fnmatchcase
from itertools import zip_longest
from pathlib import Path

import click

from sidecar.cli.configured import COMPRESSED
from sidecar.cli.output import FORMATS, counted, paint, room, say, say_faults, say_report, say_row
from sidecar.render.words import utc
from sidecar.ruletest.cases import Suite, load_tests
from sidecar.ruletest.judge import CaseResult, Failure, judge
from sidecar.simulate.messages import MessageRenderer
from sidecar.syntax.faults import ConfigError, Fault, did_you_mean

_TESTS = (".test.yaml", ".test.yml")
_READABLE = click.Path(exists=True, readable=True, path_type=Path)
_SAME, _DIFFERENT, _ONLY_EXPECTED, _ONLY_GOT = " ", "|", "<", ">"
_BLANK = "·"  # a blank where lines differ in blanks alone
_MARKS = {_DIFFERENT: "red", _ONLY_EXPECTED: "red", _ONLY_GOT: "red"}


@click.command()
@click.argument("paths", nargs=-1, required=True, type=_READABLE, metavar="FILE|DIR...")
@click.option(
    "--run", "only", metavar="NAME", help="Run only the cases of this name; * is any text."
)
@click.option("--require-cases", is_flag=True, help="Fail for each rule that no case asks about.")
@click.option(
    "--format", "form", type=click.Choice(["text", *FORMATS]), default="text", show_default=True
)
def test(paths: tuple[Path, ...], only: str | None, require_cases: bool, form: str) -> None:  # noqa: FBT001 - click's way
    """Run the rule tests in each FILE, or in each *.test.yaml of a directory.

    Every case is run. Where one fails, what was expected stands beside what was got. Exits 0 if
    all is well, 1 if a case fails or a file is wrong, 2 if the call is.
    """
    cases = failed = faulty = 0
    suites, faults, passed = [], list[Fault](), list[tuple[str, str]]()
    for path in _files(paths):
        try:
            suite = load_tests(str(path))
        except ConfigError as wrong:
            faulty += 1
            faults += wrong.faults
            if form == "text":
                say_faults(wrong.faults)
            continue
        suites.append(suite)
        chosen = [one for one in suite.cases if only is None or fnmatchcase(one.name, only)]
        renderer = MessageRenderer(suite.config)  # its templates are compiled once
        verdicts = [judge(case, suite.config, renderer) for case in chosen]
        cases += len(verdicts)
        failed += sum(bool(verdict.failures) for verdict in verdicts)
        faults += [_fault(v.case.name, one) for v in verdicts for one in v.failures]
        passed += [(str(path), v.case.name) for v in verdicts if not v.failures]
        for verdict in verdicts if form == "text" else ():
            _report(verdict)
    if only is not None and not cases and not faulty:
        names = (case.name for suite in suites for case in suite.cases)
        raise click.UsageError(
            f"no case is called {only}; {did_you_mean(only, names)}".rstrip("; ")
        )
    untested = sorted(_untested(suites)) if require_cases else []
    faults += untested
    if form == "text":
        _say_end(untested, _summary(cases, failed, faulty), good=not faults)
    else:
        say_report(form, faults, passed)
    if faults:
        raise click.exceptions.Exit(1)


def _say_end(untested: Sequence[Fault], summary: str, *, good: bool) -> None:
    for fault in untested:
        place = paint(f"{fault.file}:{fault.line}", bold=True)
        say(place, ": ", paint("FAIL", "red", bold=True), f" {fault.message}")
    say(paint(summary, "green" if good else "red"))


def _fault(name: str, failure: Failure) -> Fault:
    """Return a failure as a finding at its line."""
    file, line, column = failure.place.rsplit(":", 2)
    lines = list(_aligned(failure.expected, failure.got))
    expected = "\n".join(left for mark, left, _ in lines if mark != _ONLY_GOT)
    got = "\n".join(right for mark, _, right in lines if mark != _ONLY_EXPECTED)
    message = f"{name}: {failure.asked} at {utc(failure.at)}\nexpected:\n{expected}\ngot:\n{got}"
    return Fault(file, int(line), int(column), message)


def _untested(suites: Sequence[Suite]) -> set[Fault]:
    """Return a finding for each rule of these suites that none of their cases asks about."""
    asked = {
        test.alertname for suite in suites for case in suite.cases for test in case.alert_tests
    }
    rules = (rule for suite in suites for rule in suite.config.rules)
    bare = {(*rule.place.rsplit(":", 1), rule.name) for rule in rules if rule.name not in asked}
    return {Fault(file, int(line), 1, f"no case asks about {name}") for file, line, name in bare}


def _files(paths: Iterable[Path]) -> list[Path]:
    """Return every test file once, in the order given; directories are searched."""
    found: dict[Path, Path] = {}
    for path in paths:
        files = [path]
        if path.suffix in COMPRESSED:
            raise click.UsageError(
                f"{path} holds no cases, which are YAML; a log is for `sidecar check --sample`"
            )
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.name.endswith(_TESTS))
            if not files:
                raise click.UsageError(f"{path} holds no file that ends in {_TESTS[0]}")
        for file in files:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def _report(verdict: CaseResult) -> None:
    for failure in verdict.failures:
        about = f"{verdict.case.name}: {failure.asked} at {utc(failure.at)}"
        say(paint(failure.place, bold=True), ": ", paint("FAIL", "red", bold=True), f" {about}")
        _side_by_side(failure)
    for warning in verdict.bad_instants:
        place = paint(verdict.case.place, bold=True)
        say(place, ": ", paint("warning", "yellow", bold=True), f": {verdict.case.name}: {warning}")
    if verdict.failures:
        _inputs(verdict)


def _inputs(verdict: CaseResult) -> None:
    """Say what the inputs were to the parser: the usual reason why nothing fired."""
    say(f"  its inputs made {counted(verdict.events, 'event')}")
    for reason in sorted(set(verdict.rejects)):
        count = verdict.rejects.count(reason)
        say(f"  {counted(count, 'line')} with the marker made none: {reason.value}")
    say()


def _side_by_side(failure: Failure) -> None:
    """Print both sides in two columns, as `diff --side-by-side` marks them."""
    column = (room() - 5) // 2
    say_row(("expected", "  got"), [column], before="  ", gap=" ")
    for mark, left, right in _aligned(failure.expected, failure.got):
        lefts, rights = _wrapped(left, column), _wrapped(right, column)
        for one, other in zip_longest(lefts, rights, fillvalue=""):
            row = (one, paint(mark, _MARKS.get(mark)), other)
            say_row(row, [column, 1], before="  ", gap=" ")


def _aligned(left: tuple[str, ...], right: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
    """Yield (mark, line, line) so that equal lines stand beside each other."""
    words = [[" ".join(line.split()) for line in side] for side in (left, right)]
    matcher = SequenceMatcher(a=words[0], b=words[1], autojunk=False)
    for kind, a, to_a, b, to_b in matcher.get_opcodes():
        if kind == "equal":
            yield from map(_beside, left[a:to_a], right[b:to_b])
            continue
        both = min(to_a - a, to_b - b)
        for place in range(both):
            yield _DIFFERENT, left[a + place], right[b + place]
        yield from ((_ONLY_EXPECTED, line, "") for line in left[a + both : to_a])
        yield from ((_ONLY_GOT, "", line) for line in right[b + both : to_b])


def _beside(left: str, right: str) -> tuple[str, str, str]:
    """Return two lines of the same words; where only blanks differ, so that these are seen."""
    if left == right:
        return _SAME, left, right
    quoted = [repr(line).replace(" ", _BLANK) for line in (left, right)]
    return _DIFFERENT, quoted[0], quoted[1]


def _wrapped(line: str, width: int) -> list[str]:
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.wrap(line, width, subsequent_indent=indent + "  ", drop_whitespace=True) or [""]


def _summary(cases: int, failed: int, faulty: int) -> str:
    outcome = f"{failed} failed" if failed else "all passed" if cases else "none run"
    text = f"{counted(cases, 'case')}: {outcome}"
    return f"{text}; {counted(faulty, 'file')} not run" if faulty else text
