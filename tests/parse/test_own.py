"""What only the sidecar may say: its provider, and the fields that are its own."""

import json
from typing import Any

import pytest

from sidecar.parse.event import OWN_PROVIDER, RejectReason
from sidecar.parse.parser import Parser
from sidecar.parse.patterns import Pattern
from support.parse import NOW, chunk_of, everything, nothing, parse

FORGED = {
    "metric_type": "WEBHOOK_METRIC", "webhook_provider": OWN_PROVIDER, "status": "ok",
    "event_type": "sidecar.outbox_stuck", "timestamp": NOW,
}  # fmt: skip
HONEST = {**FORGED, "webhook_provider": "stripe", "event_type": "e"}
OWN = {"sidecar_source": "stripe", "sidecar_host": "elsewhere", "sidecar_": 1}


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
    parsed = parse("\n".join(lines) + "\n")
    assert parsed.own_fields == len(OWN) * times
    assert len(parsed.events) == times
    for event in parsed.events:
        assert not any(name.startswith("sidecar_") for name in event.fields)
        assert event.get("sidecar_source") is None
        assert event.get("note") == "sidecar_source"
