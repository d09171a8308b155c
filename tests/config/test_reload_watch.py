"""What counts as a change of the configuration: contents and names of every file it is made of."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sidecar.config.load import check_config
from sidecar.syntax.files import FileSnapshot

CONFIG = """\
sources: [{path: app.log}]
rule_files: ["rules/*.rules.yaml", "${MORE:-}"]
pattern_files: [a.patterns.yaml]
template_files: ["${TEMPLATES}/*.j2"]
http: {token_file: token}
receivers: [{slack_configs: [{api_url_file: url}], email_configs: [{tls_config: {ca_file: ca}}]}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rules").mkdir()
    (tmp_path / "t").mkdir()
    (tmp_path / "sidecar.yaml").write_text(CONFIG)
    for name in FILES:
        (tmp_path / name).write_text(f"{name}\n")
    return tmp_path


FILES = ("rules/a.rules.yaml", "a.patterns.yaml", "t/x.j2", "token", "url", "ca", "app.log")


def seen(folder: Path) -> FileSnapshot:
    return check_config(str(folder / "sidecar.yaml"), {"TEMPLATES": "t"}).snapshot


def changed(folder: Path, change: Callable[[Path], None]) -> bool:
    before = seen(folder)
    change(folder)
    return before.differs(before.again())


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
    """Of a configuration that is faulty, too: what it names, wrong, is what will be put right."""
    assert changed(folder, change)


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_it_is_none(folder: Path, change: Callable[[Path], None]) -> None:
    assert not changed(folder, change)


def test_a_file_that_two_globs_name_by_two_links_is_no_change(folder: Path) -> None:
    (folder / "rules/b.rules.yaml").symlink_to("a.rules.yaml")
    assert not changed(folder, void)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "rule_files: 7",
        "rule_files: [7, null, {}]",
        "rule_files: ['\\0', '${', '${UNSET}']",
        "&a {b_file: *a, c: [*a, *a]}",
        "http: {token_file: [x]}",
        "http: {token_file: 'a\\0b'}",
        "[" * 5000,
        "\xff\xfe",
    ],
    ids=repr,
)
def test_no_text_is_too_strange_to_watch(tmp_path: Path, text: str) -> None:
    (tmp_path / "sidecar.yaml").write_text(text, "latin-1")
    assert not changed(tmp_path, void)
    assert seen(tmp_path).directories() == {str(tmp_path)}
    assert changed(tmp_path, write("sidecar.yaml"))


def test_what_nobody_may_look_into_is_no_reason_to_stop(folder: Path) -> None:
    before = seen(folder)
    os.chmod(folder / "rules", 0)  # noqa: PTH101 - root may look all the same: only no exception counts
    try:
        before.again()
    finally:
        (folder / "rules").chmod(0o755)
    assert not before.differs(before.again())


def test_directories_are_those_of_all_files(folder: Path) -> None:
    assert seen(folder).directories() == {str(folder), str(folder / "rules"), str(folder / "t")}
