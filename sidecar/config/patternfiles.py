"""Pattern files: `patterns:`, each an RE2 regex that turns a plain line into an event."""

from collections.abc import Iterable

from sidecar.config.faults import Faults, Names
from sidecar.config.rulefiles import open_file
from sidecar.parse.pattern import Pattern, PatternFile
from sidecar.syntax.table import Reading


def read_pattern_files(paths: Iterable[str], faults: Faults) -> list[Pattern]:
    """Read every file in order; faults of all of them go to `faults`."""
    patterns: list[Pattern] = []
    names, reading = Names("pattern"), Reading(faults)
    for path in paths:
        file = reading.read(PatternFile, open_file(path, faults))
        patterns += [
            pattern
            for pattern in (file.patterns if file else ())
            if pattern.name and names.claim(pattern.name, reading.place(pattern, "name"), faults)
        ]
    return patterns
