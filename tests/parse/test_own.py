"""What only the sidecar may say: its provider, and the fields that are its own."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from sidecar.parse.columns import Columns
from sidecar.parse.container import Lines
from sidecar.parse.event import OWN_PROVIDER, Chunk, Fields, Parsed, RejectReason, Triple, Wanted
from sidecar.parse.parser import Parser
from sidecar.parse.patterns import Pattern
from sidecar.redact import Redactor
from support.parse import NOW, chunk_of, everything, nothing

FORGED = {
    "metric_type": "WEBHOOK_METRIC", "webhook_provider": OWN_PROVIDER, "status": "ok",
    "event_type": "sidecar.outbox_stuck", "timestamp": NOW,
}  # fmt: skip
HONEST = {**FORGED, "webhook_provider": "stripe", "event_type": "e"}
OWN = {"sidecar_source": "stripe", "sidecar_host": "elsewhere", "sidecar_": 1}


LOG = "app.log"


def columns_of(chunk: Chunk, parsed: Parsed) -> Columns:
    if parsed.rows is None:
        return Columns.of(parsed.events)
    return Columns.of_rows(parsed.rows, Lines(chunk, parsed).object_at)


def forms(fields: dict[str, Any]) -> dict[str, str]:
    """Return one line with these fields in each form that a log can have."""
    text = json.dumps(fields)
    message = f"WEBHOOK_METRIC: {text}"
    docker = {"log": message + "\n", "stream": "stdout", "time": "2026-11-02T08:00:00Z"}
    return {
        "object": text,
        "escaped": text.replace("sidecar", "sidec\\u0061r"),
        "json": f"2026-11-02 08:00:00 - INFO - {message}",
        "repr": f"2026-11-02 08:00:00 - INFO - WEBHOOK_METRIC: {fields!r}",
        "call": f"INFO WEBHOOK_METRIC: {fields!r}".replace("'ok'", "'ok', 'x': UUID('a')"),
        "record": json.dumps({"event": message, "level": "info"}),
        "spread": json.dumps({"event": "WEBHOOK_METRIC", **fields}),
        "pairs": f"level=info event={json.dumps(message)}",
        "docker": json.dumps(docker),
        "cri": f"2026-11-02T08:00:00.0Z stderr F {message}",
    }


@pytest.mark.parametrize("times", [1, 12], ids=["alone", "in a block"])
@pytest.mark.parametrize("wanted", [everything, nothing])
@pytest.mark.parametrize("form", forms(FORGED))
def test_a_line_that_speaks_for_the_sidecar_is_a_reject(form: str, wanted: Any, times: int) -> None:
    lines = [forms(HONEST)[form]] * times + [forms(FORGED)[form]] + [forms(HONEST)[form]] * times
    parsed = Parser().parse(chunk_of("\n".join(lines) + "\n"), now=NOW, wanted=wanted)
    assert [reject.reason for reject in parsed.rejects] == [RejectReason.OWN_PROVIDER]
    assert not any(event.provider == OWN_PROVIDER for event in parsed.events)
    assert not any(provider == OWN_PROVIDER for provider, _, _ in parsed.tallies)
    assert len(parsed.events) + sum(t.count for t in parsed.tallies.values()) == 2 * times


def test_a_text_pattern_cannot_speak_for_the_sidecar_either() -> None:
    pattern = Pattern(
        name="p", regex="^provider (?P<webhook_provider>[a-z]+)$",
        fields={"event_type": "sidecar.lag", "status": "ok"},
    )  # fmt: skip
    parsed = Parser([pattern]).parse(
        chunk_of("provider sidecar\nprovider stripe\n"), now=NOW, wanted=everything
    )
    assert [reject.reason for reject in parsed.rejects] == [RejectReason.OWN_PROVIDER]
    assert [event.provider for event in parsed.events] == ["stripe"]


@pytest.mark.parametrize("times", [1, 12], ids=["alone", "in a block"])
@pytest.mark.parametrize("form", forms(HONEST))
def test_fields_that_are_the_sidecars_are_dropped_and_counted(form: str, times: int) -> None:
    lines = [forms({**HONEST, **OWN, "note": "sidecar_source"})[form]] * times
    chunk = chunk_of("\n".join(lines) + "\n", log=LOG)
    parsed = Parser().parse(chunk, now=NOW, wanted=everything)
    assert parsed.own_fields == len(OWN) * times
    assert len(parsed.events) == times
    for event in parsed.events:
        assert event.get("sidecar_source") == LOG
        assert event.get("sidecar_host") is None  # the reader said none
        assert event.get("sidecar_") is None
        assert event.get("note") == "sidecar_source"


@pytest.mark.parametrize("times", [1, 12], ids=["alone", "in a block"])
@pytest.mark.parametrize("form", forms(HONEST))
def test_source_and_host_are_what_the_reader_says(form: str, times: int) -> None:
    lines = [forms({**HONEST, **OWN, "n": n})[form] for n in range(times)]
    chunk = replace(chunk_of("\n".join(lines) + "\n"), log="/var/log/a\x1b.log", host="web-1")
    names = Fields(("n", "sidecar_source", "sidecar_host"))
    parsed = Parser().parse(chunk, now=NOW, wanted=lambda _: names)
    columns = columns_of(chunk, parsed)
    assert len(columns) == times
    assert columns.column("sidecar_host") == ["web-1"] * times
    assert columns.column("sidecar_source") == [r"/var/log/a\u001b.log"] * times
    for number in range(times):
        event = columns.event(number)
        assert (event.get("sidecar_source"), event.get("sidecar_host"), event.get("n")) == (
            r"/var/log/a\u001b.log", "web-1", number,
        )  # fmt: skip
    by = ("sidecar_host", "n")
    redactor = Redactor()
    assert columns.keys(columns.kinds[0], by, redactor.labels)[-1] == ("web-1", str(times - 1))


def test_an_event_that_the_second_process_parsed_names_its_log_too() -> None:
    text = "\n".join([forms(HONEST)["json"]] * 12) + "\n"
    chunk, elsewhere = chunk_of(text, log=LOG), chunk_of(text)
    for asked in (True, Fields(("sidecar_source",))):

        def wanted(_: Triple, asked: Wanted = asked) -> Wanted:
            return asked

        parser = Parser()
        alone = parser.parse_alone(elsewhere, now=NOW, wanted=wanted)
        parsed = parser.parse(chunk, now=NOW, wanted=wanted, alone=alone)
        assert columns_of(chunk, parsed).column("sidecar_source") == [LOG] * 12


def test_a_rule_can_need_a_field_that_the_sidecar_sets() -> None:
    chunk = chunk_of("\n".join([forms(HONEST)["json"]] * 12) + "\n", log=LOG)
    needs = Fields(("sidecar_source",), needs=("sidecar_source",))
    parsed = Parser().parse(chunk, now=NOW, wanted=lambda _: needs)
    assert len(columns_of(chunk, parsed)) == 12
