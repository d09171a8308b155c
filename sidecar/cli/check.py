"""`sidecar check`, every fault of the configuration, its rules and templates, and `schema`."""

import json
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from sidecar.cli import config_there
from sidecar.cli.configured import UnreadableLogError
from sidecar.cli.output import FORMATS, counted, paint, say, say_faults, say_report
from sidecar.clock import SystemClock
from sidecar.config.load import Checked, check_config, check_files
from sidecar.config.rulefiles import RuleFile
from sidecar.config.settings import settings_of
from sidecar.parse.patterns import PatternFile
from sidecar.receivers import KINDS
from sidecar.ruletest.cases import CaseFile
from sidecar.syntax.faults import Fault
from sidecar.syntax.files import environment
from sidecar.syntax.table import Schema, document

if TYPE_CHECKING:
    from sidecar.simulate.doctor import Sample

_RULES = (".rules.yaml", ".rules.yml")
_PATTERNS = (".patterns.yaml", ".patterns.yml")
_TEMPLATES = (".j2",)
# JSON Schemas (2020-12) know keys and shapes; the loader has the last word.
SCHEMAS: dict[str, Callable[[], Schema]] = {
    "config": partial(document, settings_of(KINDS), "Configuration of the sidecar"),
    "rules": partial(document, RuleFile, "Rules of the sidecar"),
    "patterns": partial(document, PatternFile, "Patterns of the sidecar"),
    "tests": partial(document, CaseFile, "Rule tests of the sidecar"),
}
_READABLE = click.Path(exists=True, readable=True, path_type=Path)
_FILE = click.Path(exists=True, readable=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("-c", "--config", type=_FILE, help="Check this file and every file it names.")
@click.option(
    "--sample",
    "samples",
    multiple=True,
    type=_FILE,
    metavar="LOG",
    help="Hold the rules against this log, gzipped or not; may be given again.",
)
@click.option(
    "--placeholders",
    is_flag=True,
    help="Take variables that are not set, and files of secrets that are not there, as right.",
)
@click.option(
    "--no-files",
    is_flag=True,
    help="Say nothing of logs and state files that are not there: for another machine, as CI's.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["text", "json", *FORMATS]),
    default="text",
    show_default=True,
)
@click.argument("paths", nargs=-1, type=_READABLE, metavar="[PATH]...")
def check(  # noqa: PLR0917 - click passes them by name
    config: Path | None,
    paths: tuple[Path, ...],
    samples: tuple[Path, ...],
    placeholders: bool,  # noqa: FBT001 - click passes it by name
    no_files: bool,  # noqa: FBT001 - same
    format_: str,
) -> None:
    """Report every fault as `file:line:col: error: …`, all of them at once.

    Give a configuration with -c, or rule, pattern and template files or directories of them.
    With neither, ./sidecar.yaml is checked, or the one in /etc/sidecar. With --sample it also says
    what the log holds, which alerts could fire from it and which never can, and what to change;
    and it warns of fields that the log never has and of templates that fail on it.
    Without --placeholders and --no-files it warns of logs that are not there, and of files that
    whoever runs it cannot read or write.
    Exits 0 if all is well (warnings are), 1 if there are errors or the log holds no event, 2 if a
    file cannot be read or the call is wrong.
    """
    if config is None and not paths:
        config = Path(config_there())
    results = []
    if config is not None:
        here = not (no_files or placeholders)
        results.append(
            check_config(
                str(config),
                environment(),
                placeholders=placeholders,
                files=here,
                unwatched=True,
            )
        )
    if paths:
        results.append(_check_paths(paths))
    found: list[Sample] = []
    if samples and not any(result.errors for result in results):  # they come first
        faults, found = _sampled(results, samples)
        results.append(Checked(faults))
    if format_ in FORMATS:
        say_report(format_, _all_faults(results))
    elif format_ == "json":
        _print_json(results, found)
    else:
        _print(results, found)
    if any(result.errors for result in results):
        raise click.exceptions.Exit(1)


def _sampled(
    results: Iterable[Checked], samples: Iterable[Path]
) -> tuple[tuple[Fault, ...], "list[Sample]"]:
    """Return what the logs speak against, and what they hold for each of `results`."""
    # The simulation is a third of what `check` would import.
    from sidecar.cli.sampling import hold_against  # noqa: PLC0415 - see above

    paths = [str(path) for path in samples]
    try:
        held = [hold_against(paths, result, SystemClock().now()) for result in results]
    except UnreadableLogError as wrong:
        raise click.UsageError(str(wrong)) from wrong
    faults = tuple(fault for faults, _ in held for fault in faults)
    return faults, [sample for _, sample in held]


def _check_paths(paths: Iterable[Path]) -> Checked:
    files: dict[Path, Path] = {}
    for path in paths:
        for file in _files(path):
            files.setdefault(file.resolve(), file)
    return check_files(
        [str(file) for file in files.values() if file.name.endswith(_RULES)],
        [str(file) for file in files.values() if file.name.endswith(_PATTERNS)],
        [str(file) for file in files.values() if file.name.endswith(_TEMPLATES)],
    )


def _files(path: Path) -> list[Path]:
    known = _RULES + _PATTERNS + _TEMPLATES
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.name.endswith(known))
        if not found:
            raise click.UsageError(f"{path} holds no {_listed(known)} file")
        return found
    if not path.name.endswith(known):
        hint = f"names end in {_listed(known)}; a configuration is checked with -c {path}"
        raise click.UsageError(f"cannot tell what kind of file {path} is: {hint}")
    return [path]


def _listed(endings: tuple[str, ...]) -> str:
    shown = [ending for ending in endings if not ending.endswith(".yml")]
    return f"{', '.join(shown[:-1])} or {shown[-1]}"


def _all_faults(results: Iterable[Checked]) -> list[Fault]:
    # A rule file checked both by name and through the configuration is wrong only once.
    return sorted({fault for result in results for fault in result.faults})


def _print_json(results: Iterable[Checked], found: "list[Sample]") -> None:
    whole = {"faults": _all_faults(results), "sample": found[0] if found else None}
    say(msgspec.json.encode(whole).decode())


def _print(results: list[Checked], found: "list[Sample]") -> None:
    if found:
        from sidecar.cli.sampling import say_sample  # noqa: PLC0415 - as above

        say_sample(found[0])
    faults = _all_faults(results)
    say_faults(faults)
    errors = sum(fault.severity == "error" for fault in faults)
    problems = ", ".join(
        counted(count, word)
        for count, word in ((errors, "error"), (len(faults) - errors, "warning"))
        if count
    )
    colour = "red" if errors else "yellow" if faults else "green"
    say(f"{_summary(results)}: ", paint(problems or "fine", colour))


def _summary(results: list[Checked]) -> str:
    words = ("rule", "metric", "pattern", "template", "receiver")
    counts = [(max(len(getattr(one, f"{word}s")) for one in results), word) for word in words]
    return ", ".join(counted(count, word) for count, word in counts)


@click.command()
@click.argument("name", type=click.Choice(list(SCHEMAS)), default="config")
def schema(name: str) -> None:
    """Print the JSON Schema of one kind of file.

    config: sidecar.yaml, rules: *.rules.yaml, patterns: *.patterns.yaml, tests: *.test.yaml. An
    editor with YAML support takes it by a first line such as

    # yaml-language-server: $schema=docs/schema/config.schema.json
    """
    for line in json.dumps(SCHEMAS[name](), indent=2, ensure_ascii=False).split("\n"):
        say(line)
