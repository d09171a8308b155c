"""What all commands print through: nothing steers the terminal, columns and carets stand right."""

import os
import pty
import re
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout, suppress
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from sidecar.cli import main
from sidecar.cli.check import check
from sidecar.cli.output import Part, excerpt, paint, say, say_row, width, widths
from sidecar.config.settings import settings_of
from sidecar.receivers import KINDS
from sidecar.secret import printable
from sidecar.syntax.faults import Fault
from sidecar.syntax.table import ListOf, Nested, Table, declared
from support.config import ENVIRON, RULES, SECRET, write_config
from support.simulate import line

ROOT = Path(__file__).parents[2]
FAULTS = Path(__file__).parents[1] / "config" / "faults"
FIXTURES = sorted(FAULTS.glob("*.yaml"))


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")


def test_commands_print_through_it_alone() -> None:
    ours = sorted((ROOT / "sidecar").rglob("*.py"))
    printing = [path.name for path in ours if "click.echo(" in path.read_text()]
    assert printing == ["output.py"]  # the linter knows of print()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, Größe, 日本", "plain, Größe, 日本"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\x1b[2J\x07", r"\u001b[2J\u0007"),
        ("\x9b31m\x7f", r"\u009b31m\u007f"),
        ("left\u202eright", r"left\u202eright"),
        ("\udcff", r"\udcff"),
        ("\U000e0041", r"\udb40\udc41"),
        ("1\u00a0000\u3000", "1\u00a0000\u3000"),
    ],
    ids=ascii,
)
def test_what_could_steer_a_terminal_is_shown_instead(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


def test_width_is_counted_in_columns() -> None:
    assert [width(text) for text in ("abc", "日本", "e\u0301", "👍", "")] == [3, 4, 1, 2, 0]


def test_columns_stand_under_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[tuple[Part, ...]] = [
        ("A", "B", "C"),
        ("日本", paint("\x1b", "red"), "last"),
        ("a longer one", "b", ""),
    ]
    wide = widths(rows)
    for row in rows:
        say_row(row, wide)
    assert capsys.readouterr().out.splitlines() == [
        "A             B       C",
        "日本          \\u001b  last",
        "a longer one  b",
    ]


@pytest.mark.parametrize(
    ("line", "column", "shown", "caret"),
    [
        ("kay: value", 6, "kay: value", 5),
        ("kay: value", 11, "kay: value", 10),
        ("kay: value", 99, "kay: value", 10),
        ("    whole line", 1, "    whole line", 4),
        ("\tkay: value", 7, "    kay: value", 9),
        ("名前: value", 5, "名前: value", 6),
        ("e\u0301: value", 5, "e\u0301: value", 3),
        ("\x1bx: y", 5, r"\u001bx: y", 9),
        ("", 1, "", 0),
    ],
    ids=ascii,
)
def test_the_caret_stands_under_the_column(line: str, column: int, shown: str, caret: int) -> None:
    assert excerpt(Fault("f", 2, column, "m"), ["#", line]) == (shown, caret)


@pytest.mark.parametrize("column", [1, 50, 500, 999_990, 1_000_001])
def test_a_long_line_is_cut_around_the_column(column: int) -> None:
    line = "".join(f"日{number % 10}" for number in range(500_000)) + "!"
    found = excerpt(Fault("f", 1, column, "m"), [line])
    assert found is not None
    shown, caret = found
    assert 90 < width(shown) <= 96
    before = next(at for at in range(len(shown) + 1) if width(shown[:at]) == caret)
    assert shown[before : before + 3].rstrip("…") in line[column - 1 : column + 2]


def test_no_line_is_shown_that_is_not_there() -> None:
    assert excerpt(Fault("f", 3, 1, "m"), ["a", "b"]) is None


def shown_of(path: Path) -> str:
    option = ["-c"] if ".rules." not in path.name and ".patterns." not in path.name else []
    return CliRunner().invoke(check, [*option, str(path)], env=ENVIRON).output


def test_the_line_of_a_fault_is_shown_below_it_and_never_a_secret() -> None:
    carets = 0
    for fixture in FIXTURES:
        text = shown_of(fixture)
        assert SECRET not in text, fixture.name
        assert "12:34:56" not in text, fixture.name
        lines, source = text.splitlines(), fixture.read_text().splitlines()
        for place, below, caret in zip(lines, lines[1:], lines[2:], strict=False):
            found = re.match(rf"{fixture}:(\d+):(\d+): ", place)
            if found and below.startswith("    "):
                written = source[int(found[1]) - 1].replace("\t", "    ")
                assert below.strip("… ") in printable(written), fixture.name
                assert caret.strip() == "^", fixture.name
                cut = below.strip().startswith("…")
                assert cut or caret.index("^") - 4 >= int(found[2]) - 1, fixture.name
                carets += 1
    assert carets > len(FIXTURES) / 2


def secret_keys(kind: type[Table]) -> Iterator[str]:
    """Yield every key of a configuration whose value is a secret."""
    for name, one in declared(kind).items():
        shape = one.shape.item if isinstance(one.shape, ListOf) else one.shape
        if one.twin:
            yield name
        elif isinstance(shape, Nested) and shape.table() is not kind:
            yield from secret_keys(shape.table())


SPELLINGS = (
    "{key}: {value}",
    "{key}:   '{value}'",
    'x: {{a: 1, "{key}": "{value}"}}',
    "{key}:\n  {value}",
    "{key}: |\n  {value}",
    "{key}: >-\n  {value}\n  {value}",
    "x: {{{key}:\n  {value}}}",
    "- {key}: '\n    {value}'",
    "{key}: ${{A:-{value}}}",
)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_line_with_the_value_of_a_secret_key_is_not_shown(spelling: str) -> None:
    keys = set(secret_keys(settings_of(KINDS)))
    assert keys >= {"slack_app_token", "api_url", "auth_password", "token"}
    for key in keys:
        text = spelling.format(key=key, value="hunter2")
        yaml.safe_load(text)
        lines = text.splitlines()
        for number, one in enumerate(lines, start=1):
            if "hunter2" in one:
                assert excerpt(Fault("f", number, 3, "m"), lines) is None


@pytest.mark.parametrize(
    "text",
    [
        "url: https://hooks.slack.com/services/T0/B0/hunter2",
        "colour: xoxb-hunter2",
        "smtp: 'smtp://u:hunter2@mail'",
    ],
    ids=str,
)
def test_a_line_that_looks_like_a_secret_is_not_shown(text: str) -> None:
    assert excerpt(Fault("f", 1, 3, "m"), [text]) is None


@pytest.mark.parametrize(
    "text",
    ["token: ${TOKEN}", "auth_password: ${P:-}", "token_file: x", "to: a@example.com", "token:"],
    ids=str,
)
def test_a_variable_or_a_path_is_no_secret(text: str) -> None:
    assert excerpt(Fault("f", 1, 3, "m"), [text]) == (text, 2)


def test_the_line_below_a_secret_is_shown() -> None:
    lines = ["global:", "  slack_app_token: xoxb-x", "  smtp_hello: 5"]
    assert excerpt(Fault("f", 3, 3, "m"), lines) == (lines[2], 2)


@pytest.mark.parametrize(
    ("terminal", "environ", "coloured"),
    [
        (True, {}, True),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (True, {"TERM": "dumb"}, False),
        (False, {}, False),
    ],
)
def test_there_is_colour_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, *, terminal: bool, environ: dict[str, str], coloured: bool
) -> None:
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    written = written_by(lambda: say(paint("FAIL", "red"), " \x1b[2J"), terminal=terminal)
    assert ("\x1b[31mFAIL" in written) is coloured
    assert re.sub(r"\x1b\[\d*m", "", written) == "FAIL \\u001b[2J\n"


@pytest.mark.parametrize("command", ["check", "test", "replay"])
def test_these_commands_have_colour_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    rules = RULES.replace("critical", "criticl")
    config = write_config(tmp_path, route="route: {receiver: team, group_wait: 0s}")
    (tmp_path / "a.rules.yaml").write_text(rules)
    (tmp_path / "a.test.yaml").write_text("rule_files: [a.rules.yaml]\ntests: []\n")
    (tmp_path / "app.log").write_bytes(line(1e9, org="one"))
    arguments = {
        "check": ["-c", config],
        "test": [str(tmp_path)],
        "replay": ["-c", config, str(tmp_path / "app.log")],
    }[command]

    def call() -> None:
        with suppress(SystemExit):
            main([command, *arguments])

    assert "\x1b[3" in written_by(call, terminal=True)
    assert "\x1b[3" not in written_by(call, terminal=False)


def written_by(call: Callable[[], None], *, terminal: bool) -> str:
    """Return what `call` writes to a real terminal, or to a pipe."""
    read, write = pty.openpty() if terminal else os.pipe()
    with os.fdopen(write, "w", encoding="utf-8") as opened, redirect_stdout(opened):
        call()
    with os.fdopen(read, "rb", buffering=0) as made:
        parts = []
        with suppress(OSError):  # how a terminal that nobody writes to any more says so
            while part := made.read(4096):
                parts.append(part)
    return b"".join(parts).decode().replace("\r\n", "\n")
