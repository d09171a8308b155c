"""`sidecar alerts` and `sidecar resolve` against a daemon, and without one."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from sidecar.cli.alerts import ack, add, alerts, expire, list_, resolve, rules
from sidecar.cli.check import check
from sidecar.cli.client import healthcheck
from sidecar.cli.explain import explain
from sidecar.secret import Secret
from support.daemon import until
from support.live import CONFIG, FAILING, Stage, staged
from support.web import StubApi, serving, web_state

SUMMARY = """\
        annotations: {summary: 'Failed {{ value }} times for {{ labels.org_id }}'}
        collect: [event_id]
"""


def call(command: click.Command, *arguments: str) -> Result:
    return CliRunner().invoke(command, arguments)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("alerts"), rules=FAILING + SUMMARY) as stage:
        for n, org in enumerate(("org_1", "org_1", "org_2", "org_2", "org_2")):
            stage.log("failed", org, event_id=f"evt_{n}")
        until(lambda: stage.told("Failing") == 2, "two alerts are told")
        yield stage


def test_an_alert_that_waits_for_its_group_says_until_when(tmp_path: Path) -> None:
    waiting = CONFIG.replace("group_wait: 0s", "group_wait: 1h")
    with staged(tmp_path, config=waiting) as stage:
        for n in range(2):
            stage.log("failed", "org_1", event_id=f"evt_{n}")

        def said() -> str:
            return call(alerts, "--url", f"http://127.0.0.1:{stage.daemon.port}").output

        until(lambda: "Failing" in said(), "the alert is listed")
        assert re.search(
            r"    not told yet to slack #c: group_wait, until [\d-]+ [\d:]+ UTC\n", said()
        )
        assert "Not told yet to slack #c: group_wait, until " in stage.daemon.get("/")


class TestWithDaemon:
    def ask(self, stage: Stage, command: click.Command, *arguments: str) -> Result:
        return call(command, "--url", f"http://127.0.0.1:{stage.daemon.port}", *arguments)

    def test_the_table_names_what_resolve_wants(self, stage: Stage) -> None:
        result = self.ask(stage, alerts)
        head, *below = result.output.splitlines()
        rows, lines = below[::2], below[1::2]
        assert result.exit_code == 0
        assert head.split() == ["STATE", "SEVERITY", "SINCE", "(UTC)", "ALERT", "KEY", "SUMMARY"]
        assert [row.split(maxsplit=6)[4:] for row in rows] == [
            ["Failing", "org_id=org_2", "Failed 3 times for org_2"],
            ["Failing", "org_id=org_1", "Failed 2 times for org_1"],
        ]
        for org, line in zip(("org_2", "org_1"), lines, strict=True):
            assert re.match(r"    \S+app\.log at byte \d+: .*" + org, line)

    def test_collected_ids_come_one_a_line(self, stage: Stage) -> None:
        result = self.ask(stage, alerts, "--ids")
        assert (result.exit_code, result.output) == (0, "evt_3\nevt_4\nevt_1\n")

    def test_the_rules_are_listed_with_how_they_stand(self, stage: Stage) -> None:
        result = self.ask(stage, rules, "--format", "json")
        (rule,) = [json.loads(line) for line in result.output.splitlines()]
        assert (rule["alertname"], rule["firing"], rule["keys"]) == ("Failing", 2, 2)
        assert rule["last_match"] is not None
        assert (0 < rule["seconds"] < 10, rule["key_bytes"]) == (True, 0)
        head, row = self.ask(stage, rules).output.splitlines()
        assert head.startswith("ALERT")
        assert row.split()[:5] == ["Failing", "critical", "2", "-", "2"]
        assert re.search(r"  0\.\d\d\d s +-$", row)
        name = 'sidecar_rule_last_match_timestamp_seconds{alertname="Failing"}'
        assert stage.daemon.samples()[name] == pytest.approx(rule["last_match"])

    def test_what_no_rule_names_is_listed(self, stage: Stage) -> None:
        assert self.ask(stage, rules, "--unread").output.startswith("every event that came")
        stage.log("odd", "org_9")
        until(lambda: "odd" in self.ask(stage, rules, "--unread").output, "it is listed")
        head, row = self.ask(stage, rules, "--unread").output.splitlines()
        assert head.split()[:2] == ["PROVIDER", "EVENT"]
        assert row.split()[2:4] == ["odd", "1"]

    def test_json_is_an_object_a_line(self, stage: Stage) -> None:
        result = self.ask(stage, alerts, "--format", "json")
        found = [json.loads(line) for line in result.output.splitlines()]
        assert [(a["alertname"], a["state"], a["severity"]) for a in found] == [
            ("Failing", "firing", "critical")
        ] * 2
        assert {a["key"]["org_id"]: a["annotations"]["summary"] for a in found} == {
            "org_1": "Failed 2 times for org_1",
            "org_2": "Failed 3 times for org_2",
        }

    @pytest.mark.parametrize(
        ("arguments", "code", "sentence"),
        [
            (("Fialing", "org_id=org_1"), 1, "no rule is called Fialing; did you mean Failing?"),
            (("Refund", "org_id=org_1"), 1, "no rule is called Refund; `sidecar rules` lists them"),
            (("Failing",), 1, "alerts of Failing are named by org_id=VALUE"),
            (("Failing", "org=org_1"), 1, "alerts of Failing are named by org_id=VALUE"),
            (("Failing", "org_id=org_9"), 1, "no alert Failing is open for org_id=org_9"),
        ],
        ids=["unknown rule", "no such rule", "no key", "wrong key", "no such alert"],
    )
    def test_what_cannot_be_resolved_is_one_line(
        self, stage: Stage, arguments: tuple[str, ...], code: int, sentence: str
    ) -> None:
        result = self.ask(stage, resolve, *arguments)
        assert (result.exit_code, result.output) == (code, f"sidecar: {sentence}\n")

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (("org_id=org_9",), 'no alert fires for org_id="org_9"'),
            (
                ("org_id", "severity=critical", "a b"),
                (
                    "'org_id' is not a matcher; write for example severity=\"critical\";"
                    " 'a b' is not a matcher; write for example severity=\"critical\""
                ),
            ),
        ],
        ids=["nothing open", "no matchers"],
    )
    def test_what_cannot_be_acknowledged_is_one_line(
        self, stage: Stage, arguments: tuple[str, ...], sentence: str
    ) -> None:
        result = self.ask(stage, ack, *arguments)
        assert (result.exit_code, result.output) == (1, f"sidecar: {sentence}\n")

    def test_an_acknowledged_alert_says_who_took_it(self, stage: Stage) -> None:
        result = self.ask(stage, ack, "org_id=org_2", "--by", "ann", "--comment", "calling them")
        assert (result.exit_code, result.output) == (0, "acknowledged Failing for org_id=org_2\n")
        assert re.search(
            r"    acknowledged by ann, [\d-]+ [\d:]+ UTC: calling them\n",
            self.ask(stage, alerts).output,
        )

    def test_a_silence_is_added_listed_and_ended(self, stage: Stage) -> None:
        arguments = ("org_id=org_1", "--for", "2h", "--comment", "moving", "--by", "ann")
        added = self.ask(stage, add, *arguments)
        assert added.exit_code == 0
        found = re.fullmatch(
            r'silence (\w+) until [\d-]+ [\d:]+ UTC: org_id="org_1"\n', added.output
        )
        assert found is not None
        listed = self.ask(stage, list_).output.splitlines()[1].split(maxsplit=4)
        assert listed[:2] == [found[1], "active"]
        assert listed[4].split() == ["ann", 'org_id="org_1"', "moving", "Failing", "org_1"]
        said = self.ask(stage, alerts).output
        assert re.findall(r"    silenced by (\w+) \((.*)\), until [\d-]+ [\d:]+ UTC\n", said) == [
            (found[1], 'org_id="org_1"')
        ]
        assert f"Silenced by <code>{found[1]}</code>" in stage.daemon.get("/")
        assert self.ask(stage, expire, found[1]).output == f"silence {found[1]} is over\n"
        assert self.ask(stage, list_).output == "no silences\n"
        assert [one["state"] for one in self.silences(stage)] == ["expired"]
        assert "silenced" not in self.ask(stage, alerts).output

    def silences(self, stage: Stage) -> list[dict[str, object]]:
        output = self.ask(stage, list_, "--all", "--format", "json").output
        return [json.loads(line) for line in output.splitlines()]

    @pytest.mark.parametrize(
        ("arguments", "code", "sentence"),
        [
            (("org_id", "--for", "2h"), 1, "'org_id' is not a matcher"),
            (("a=b", "--until", "2020-01-01T00:00"), 1, "ends after it starts, and after now"),
            (
                ("a=b", "--from", "2099-01-02T00:00", "--until", "2099-01-01T00:00"),
                1,
                "ends after it starts",
            ),
            (("a=b",), 2, "say how long: --for 2h, or --until 2026-11-02T08:00"),
            (("a=b", "--for", "2 h"), 2, "'2 h' is not a duration"),
            (("a=b", "--until", "noon"), 2, "'noon' is not an instant"),
            (("--for", "2h"), 1, "This mutes every alert. Type `everything` to go on"),
            (("a=~(", "--for", "2h"), 1, "'(' is not an RE2 pattern"),
            (("a=b", "--for", "0s"), 1, "ends after it starts, and after now"),
        ],
    )
    def test_what_is_no_silence_is_said_and_nothing_is_stored(
        self, stage: Stage, arguments: tuple[str, ...], code: int, sentence: str
    ) -> None:
        before = self.silences(stage)
        result = self.ask(stage, add, *arguments)
        assert result.exit_code == code
        assert sentence in result.output
        assert self.silences(stage) == before

    def test_everything_is_muted_only_by_who_says_so_again(self, stage: Stage) -> None:
        url = f"http://127.0.0.1:{stage.daemon.port}"
        arguments = ("--url", url, "--for", "5m")
        made = CliRunner().invoke(add, arguments, input="everything\n")
        assert made.output.rstrip().endswith("UTC: everything")
        id_ = self.silences(stage)[0]["id"]
        assert self.silences(stage)[0]["mutes"] == [
            {"alertname": "Failing", "key": {"org_id": org}} for org in ("org_1", "org_2")
        ]
        assert self.ask(stage, expire, str(id_)).exit_code == 0
        again = self.ask(stage, expire, str(id_))
        assert (again.exit_code, "is there that is not over" in again.output) == (1, True)

    def test_who_says_no_when_asked_again_mutes_nothing(self, stage: Stage) -> None:
        before = self.silences(stage)
        url = f"http://127.0.0.1:{stage.daemon.port}"
        made = CliRunner().invoke(add, ("--url", url, "--for", "5m"), input="yes\n")
        assert (made.exit_code, "nothing is muted" in made.output) == (1, True)
        assert self.silences(stage) == before

    def test_why_somebody_was_told_stands_on_one_screen(self, stage: Stage) -> None:
        stage.log("failed", "org_7")
        until(lambda: "1; " in self.ask(stage, explain, "org_id=org_7").output, "it counts")
        self.ask(stage, ack, "org_id=org_2", "--by", "ann", "--comment", "calling them")
        lines = self.ask(stage, explain, "org_id=org_2").output.splitlines()
        assert lines[0].startswith("Failing org_id=org_2: firing, value 3; fires at ")
        assert [line[20:] for line in (lines[1], lines[2], lines[-1])] == [
            "fired Failing org_id=org_2: value 2, severity critical",
            "queued Failing org_id=org_2: first notification, for slack #c",
            "acknowledged Failing org_id=org_2: by ann: calling them",
        ]
        assert lines[3] == "    sent at attempt 1"
        below = self.ask(stage, explain, "org_id=org_7").output.splitlines()
        assert below[0].startswith("Failing org_id=org_7: no alert, value 1; fires at ")
        assert below[1] == "Nothing happened to alerts of org_id=org_7 in 2 days."
        nobody = self.ask(stage, explain, "org_id=org_8", "--since", "1h")
        assert nobody.output.startswith("No rule knows anything of org_id=org_8")

    def test_events_that_no_rule_takes_are_shown_as_well(self, stage: Stage) -> None:
        for org in ("org_6", "org_66", "org_6"):
            stage.log("refunded", org)
        stage.log("failed", "org_6", note="what a rule takes is not among them")
        asked = ("org_id=org_6", "status=~ref.*|failed", "--since", "3650d")
        until(lambda: "2 times" in self.ask(stage, explain, *asked).output, "both are found")
        (seen,) = [
            li for li in self.ask(stage, explain, *asked).output.splitlines() if "seen" in li
        ]
        assert seen == (
            "2026-11-02 08:00:00 seen stripe invoice.payment_failed refunded, 2 times:"
            " no rule takes it"
        )
        assert "seen" not in self.ask(stage, explain, "org_id=org_6").output  # in two days
        assert "seen" not in self.ask(stage, explain, "org_id=~org_6", "--since", "3650d").output

    @pytest.mark.parametrize(
        ("arguments", "code"), [(("org_id",), 1), (("a=b", "--since", "2 d"), 2), ((), 2)]
    )
    def test_what_cannot_be_explained_is_said(
        self, stage: Stage, arguments: tuple[str, ...], code: int
    ) -> None:
        assert self.ask(stage, explain, *arguments).exit_code == code

    def test_resolving_ends_it_tells_so_and_forgets_what_led_to_it(self, stage: Stage) -> None:
        """Last in the class: it changes what the others look at."""
        result = self.ask(stage, resolve, "Failing", "org_id=org_1")
        assert (result.exit_code, result.output) == (0, "resolved Failing for org_id=org_1\n")
        until(lambda: stage.told("RESOLVED", "org_1") == 1, "the end is told")
        assert "org_1" not in self.ask(stage, alerts).output
        again = self.ask(stage, resolve, "Failing", "org_id=org_1")
        assert again.exit_code == 1
        stage.log("failed", "org_1")
        stage.log("failed", "org_9")
        until(lambda: "1; " in self.ask(stage, explain, "org_id=org_9").output, "both count")
        assert "org_1" not in self.ask(stage, alerts).output


BEYOND = CONFIG.replace("127.0.0.1:0", "0.0.0.0:0")


def test_on_this_machine_no_token_is_needed_by_whoever_may_open_the_socket(tmp_path: Path) -> None:
    """As in the shipped container: beyond loopback and without a token."""
    with staged(tmp_path, config=BEYOND) as stage:
        for _ in range(2):
            stage.log("failed", "org_1")
        until(lambda: stage.told("Failing") == 1, "the alert is told")
        url, config = f"http://127.0.0.1:{stage.daemon.port}", str(tmp_path / "sidecar.yaml")
        assert "answers 403: Off: beyond loopback" in call(alerts, "--url", url).output
        assert "Failing" in call(alerts, "-c", config).output
        result = call(resolve, "-c", config, "Failing", "org_id=org_1")
        assert (result.exit_code, result.output) == (0, "resolved Failing for org_id=org_1\n")
        assert call(healthcheck, "-c", config).output == "healthy\n"
        assert (tmp_path / "state.db.sock").stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "state.db.sock").exists()


def test_without_c_the_configuration_here_says_where_the_daemon_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = 'http: {listen: "0.0.0.0:0", admin_socket: run/admin}'
    (tmp_path / "run").mkdir()
    with staged(
        tmp_path,
        config=CONFIG.replace(
            'http: {{listen: "127.0.0.1:0"}}', rest.replace("{", "{{").replace("}", "}}")
        ),
    ):
        monkeypatch.chdir(tmp_path)
        assert call(alerts).output == "no alerts\n"
        assert call(check).exit_code == 0


def test_a_socket_that_cannot_be_used_is_told_of_and_http_asked_instead(tmp_path: Path) -> None:
    (tmp_path / "state.db.sock").write_text("not a socket")
    with staged(tmp_path) as stage:
        config = tmp_path / "sidecar.yaml"
        config.write_text(
            config.read_text().replace("127.0.0.1:0", f"127.0.0.1:{stage.daemon.port}")
        )
        assert call(alerts, "-c", str(config)).output == "no alerts\n"
    said = [line for line in stage.daemon.log if "admin_socket_not_usable" in line]
    assert len(said) == 1
    assert "Address already in use" in said[0]


@pytest.mark.parametrize(
    ("command", "arguments"), [(alerts, ()), (resolve, ("A",))], ids=["alerts", "resolve"]
)
class TestWithout:
    async def test_nobody_answering_is_one_line(
        self, command: click.Command, arguments: tuple[str, ...]
    ) -> None:
        async with serving(web_state()) as port:
            pass
        url = f"http://127.0.0.1:{port}"
        result = await asyncio.to_thread(call, command, "--url", url, *arguments)
        assert result.exit_code == 2
        assert result.output.startswith(f"sidecar: no answer from {url}: ")
        assert result.output.count("\n") == 1

    @pytest.mark.parametrize("url", ["localhost:9787", "ftp://localhost", "http://:x"])
    def test_what_is_no_url_is_one_line(
        self, command: click.Command, arguments: tuple[str, ...], url: str
    ) -> None:
        result = call(command, "--url", url, *arguments)
        assert (result.exit_code, result.output.count("\n")) == (2, 1)

    async def test_a_missing_token_is_one_line(
        self, command: click.Command, arguments: tuple[str, ...]
    ) -> None:
        state = web_state(api=StubApi(), loopback=False, token=lambda: Secret("s"))
        async with serving(state, "0.0.0.0") as port:  # noqa: S104 - that is the case here
            url = f"http://127.0.0.1:{port}"
            result = await asyncio.to_thread(call, command, "--url", url, *arguments)
        assert result.exit_code == 2
        assert result.output == (
            f"sidecar: {url} answers 401: This needs the bearer token of http.token_file.\n"
        )

    @pytest.mark.parametrize("way", ["-c", "--token-file"])
    async def test_the_token_comes_from_a_file(
        self, command: click.Command, arguments: tuple[str, ...], way: str, tmp_path: Path
    ) -> None:
        (tmp_path / "token").write_text("opensesame\n")
        state = web_state(api=StubApi(), loopback=False, token=lambda: Secret("opensesame"))
        async with serving(state, "0.0.0.0") as port:  # noqa: S104 - that is the case here
            config = tmp_path / "sidecar.yaml"
            config.write_text(f'http: {{listen: "0.0.0.0:{port}", token_file: token}}\n')
            named = str(config if way == "-c" else tmp_path / "token")
            url = f"http://127.0.0.1:{port}"
            result = await asyncio.to_thread(call, command, "--url", url, way, named, *arguments)
        assert "answers 401" not in result.output


def test_no_alerts_is_said_and_the_sidecars_own_trouble_below() -> None:
    class Quiet(StubApi):
        async def alerts(self) -> list[dict[str, object]]:
            return []

    async def ask() -> Result:
        async with serving(web_state(api=Quiet())) as port:
            return await asyncio.to_thread(call, alerts, "--url", f"http://127.0.0.1:{port}")

    result = asyncio.run(ask())
    assert result.exit_code == 0
    quiet, trouble, judge = result.output.splitlines()
    assert (quiet, judge) == ("no alerts", "judged on plain")
    assert re.fullmatch(
        r"trouble of the sidecar itself since \S+ \S+ UTC: rejects, reason \S+", trouble
    )


@pytest.mark.parametrize("pair", ["org_1", "=org_1", ""])
def test_what_is_no_pair_is_wrong_usage(pair: str) -> None:
    result = call(resolve, "A", pair)
    assert result.exit_code == 2
    assert "is not KEY=VALUE" in result.output
