"""What counts as a change of the configuration: contents and names of every file it is made of."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sidecar.config.reload import WatchedFiles

CONFIG = """\
sources: [{path: app.log}]
rule_files: ["rules/*.rules.yaml", "${MORE:-}"]
pattern_files: [a.patterns.yaml]
template_files: ["${TEMPLATES}/*.j2"]
http: {token_file: token}
receivers: [{slack_configs: [{api_url_file: url}]}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rules").mkdir()
    (tmp_path / "t").mkdir()
    (tmp_path / "sidecar.yaml").write_text(CONFIG)
    for name in ("rules/a.rules.yaml", "a.patterns.yaml", "t/x.j2", "token", "url", "app.log"):
        (tmp_path / name).write_text(f"{name}\n")
    return tmp_path


def watched(folder: Path) -> WatchedFiles:
    return WatchedFiles(str(folder / "sidecar.yaml"), {"TEMPLATES": "t"})


def write(name: str, text: str = "new\n") -> Callable[[Path], None]:
    return lambda folder: void((folder / name).write_text(text))


def void(_: object) -> None:
    pass


CHANGES: dict[str, Callable[[Path], None]] = {
    "the file itself": write("sidecar.yaml", CONFIG + "stale_after: 1h\n"),
    "a rule file": write("rules/a.rules.yaml"),
    "a new file that a glob matches": write("rules/b.rules.yaml"),
    "a pattern file": write("a.patterns.yaml"),
    "a template": write("t/x.j2"),
    "a secret": write("url"),
    "the token": write("token"),
    "a file is removed": lambda folder: (folder / "a.patterns.yaml").unlink(),
    "a file is renamed": lambda folder: void(
        (folder / "rules/a.rules.yaml").rename(folder / "rules/b.rules.yaml")
    ),
    "text moves to the next file": lambda folder: (
        write("a.patterns.yaml", "a.patterns.yaml\nx")(folder),
        write("rules/a.rules.yaml", "")(folder),
    )[0],
    "the configuration is no YAML": write("sidecar.yaml", "sources: ["),
    "the configuration is gone": lambda folder: (folder / "sidecar.yaml").unlink(),
}
SAME: dict[str, Callable[[Path], None]] = {
    "a log": write("app.log"),
    "a file that nothing names": write("rules/readme.md"),
    "only the time": lambda folder: os.utime(folder / "rules/a.rules.yaml", (1, 1)),
    "the same text in a new file": lambda folder: void(
        ((folder / "new").write_text("token\n"), (folder / "new").rename(folder / "token"))
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_it_is_a_change(folder: Path, change: Callable[[Path], None]) -> None:
    files = watched(folder)
    before = files.checksum()
    change(folder)
    assert files.checksum() != before


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_it_is_none(folder: Path, change: Callable[[Path], None]) -> None:
    files = watched(folder)
    before = files.checksum()
    change(folder)
    assert files.checksum() == before


def test_the_files_of_a_faulty_configuration_are_watched_all_the_same(folder: Path) -> None:
    """The rule file that is named, and wrong or not there, is what will be put right next."""
    (folder / "sidecar.yaml").write_text(CONFIG + "rule_flies: []\nnosuch: [c.rules.yaml]\n")
    files = watched(folder)
    before = files.checksum()
    (folder / "rules/z.rules.yaml").write_text("now it is\n")
    assert files.checksum() != before


def test_while_it_is_no_yaml_the_files_it_named_are_watched(folder: Path) -> None:
    files = watched(folder)
    files.checksum()
    (folder / "sidecar.yaml").write_text("rule_files: [")
    before = files.checksum()
    (folder / "rules/a.rules.yaml").write_text("new\n")
    assert files.checksum() != before


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "rule_files: 7",
        "rule_files: [7, null, {}]",
        "rule_files: ['\\0', '${', '${UNSET}']",
        "&a {b_file: *a, c: [*a, *a]}",
        "token_file: [x]",
        "[" * 5000,
        "\xff\xfe",
    ],
    ids=repr,
)
def test_no_text_is_too_strange_to_watch(tmp_path: Path, text: str) -> None:
    (tmp_path / "sidecar.yaml").write_text(text, "latin-1")
    files = watched(tmp_path)
    assert files.checksum() == files.checksum()
    assert files.directories() == {str(tmp_path)}


def test_directories_are_those_of_all_files(folder: Path) -> None:
    files = watched(folder)
    files.checksum()
    assert files.directories() == {str(folder), str(folder / "rules"), str(folder / "t")}
