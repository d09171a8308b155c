"""`sidecar test`: runs the cases of rule tests and shows where they fail, side by side."""

import shutil
import textwrap
from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher
from pathlib import Path

import click

from sidecar.render.sandbox import utc
from sidecar.ruletest.cases import load_tests
from sidecar.ruletest.judge import CaseResult, Failure, judge
from sidecar.syntax.faults import ConfigError

_TESTS = (".test.yaml", ".test.yml")
_WIDEST, _NARROWEST = 160, 60
_READABLE = click.Path(exists=True, readable=True, path_type=Path)
_SAME, _DIFFERENT, _ONLY_EXPECTED, _ONLY_GOT = " ", "|", "<", ">"


@click.command()
@click.argument("paths", nargs=-1, required=True, type=_READABLE, metavar="FILE|DIR...")
def test(paths: tuple[Path, ...]) -> None:
    """Run the rule tests in each FILE, or in each *.test.yaml of a directory.

    Every case is run. Where one fails, what was expected stands beside what was got. Exits 0 if
    all is well, 1 if a case fails or a file is wrong, 2 if the call is.
    """
    cases = failed = faulty = 0
    for path in _files(paths):
        try:
            suite = load_tests(str(path))
        except ConfigError as wrong:
            faulty += 1
            for fault in wrong.faults:
                click.echo(str(fault))
            continue
        verdicts = [judge(case, suite.config) for case in suite.cases]
        cases += len(verdicts)
        failed += sum(bool(verdict.failures) for verdict in verdicts)
        for line in _report(verdicts):
            click.echo(line)
    click.echo(_summary(cases, failed, faulty))
    if failed or faulty:
        raise click.exceptions.Exit(1)


def _files(paths: Iterable[Path]) -> list[Path]:
    """Return every test file once, in the order given; directories are searched."""
    found: dict[Path, Path] = {}
    for path in paths:
        files = [path]
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.name.endswith(_TESTS))
            if not files:
                raise click.UsageError(f"{path} holds no file that ends in {_TESTS[0]}")
        for file in files:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def _report(verdicts: Iterable[CaseResult]) -> Iterator[str]:
    for verdict in verdicts:
        for failure in verdict.failures:
            yield f"{failure.place}: FAIL {verdict.case.name}: {failure.asked} at {utc(failure.at)}"
            yield from _side_by_side(failure)
        for warning in verdict.bad_instants:
            yield f"{verdict.case.place}: warning: {verdict.case.name}: {warning}"
        if verdict.failures:
            yield from _inputs(verdict)


def _inputs(verdict: CaseResult) -> Iterator[str]:
    """Say what the inputs were to the parser: the usual reason why nothing fired."""
    yield f"  its inputs made {_of(verdict.events, 'event')}"
    for reason in sorted(set(verdict.rejects)):
        count = verdict.rejects.count(reason)
        yield f"  {_of(count, 'line')} with the marker made none: {reason.value}"
    yield ""


def _side_by_side(failure: Failure) -> Iterator[str]:
    """Yield both sides in two columns, as `diff --side-by-side` marks them."""
    width = max(_NARROWEST, min(_WIDEST, shutil.get_terminal_size((100, 24)).columns))
    column = (width - 5) // 2
    yield f"  {'expected'.ljust(column)}   got"
    for mark, left, right in _aligned(failure.expected, failure.got):
        lefts, rights = _wrapped(left, column), _wrapped(right, column)
        for number in range(max(len(lefts), len(rights))):
            one = lefts[number] if number < len(lefts) else ""
            other = rights[number] if number < len(rights) else ""
            yield f"  {one.ljust(column)} {mark} {other}".rstrip()


def _aligned(left: tuple[str, ...], right: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
    """Yield (mark, line, line) so that equal lines stand beside each other."""
    matcher = SequenceMatcher(a=left, b=right, autojunk=False)
    for kind, a, to_a, b, to_b in matcher.get_opcodes():
        if kind == "equal":
            yield from ((_SAME, line, line) for line in left[a:to_a])
            continue
        both = min(to_a - a, to_b - b)
        for place in range(both):
            yield _DIFFERENT, left[a + place], right[b + place]
        yield from ((_ONLY_EXPECTED, line, "") for line in left[a + both : to_a])
        yield from ((_ONLY_GOT, "", line) for line in right[b + both : to_b])


def _wrapped(line: str, width: int) -> list[str]:
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.wrap(line, width, subsequent_indent=indent + "  ", drop_whitespace=True) or [""]


def _summary(cases: int, failed: int, faulty: int) -> str:
    outcome = f"{failed} failed" if failed else "all passed" if cases else "none run"
    text = f"{_of(cases, 'case')}: {outcome}"
    return f"{text}; {_of(faulty, 'file')} not run" if faulty else text


def _of(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
