"""Loggers of many hosts: how many of three identical events each form of a line gives."""

import base64
import json
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from sidecar.parse.event import Parsed
from sidecar.parse.parser import Parser
from support.parse import NOW, SAMPLES, chunk_of, everything

# What is read of them, where that is less than what they say.
READ = dict.fromkeys(
    (
        "bare_pprint", "clef", "col_inside", "datadog_attr", "fdebug", "fluentd_k8s",
        "gcp_jsonPayload_fields", "gcp_jsonPayload_msg", "gcp_textPayload", "half_then_full",
        "half_then_full_text", "journald_bytes", "journald_json", "laravel", "list1",
        "logfmt_metric", "loguru_ser_bind", "loguru_ser_fstring", "loguru_ser_json",
        "mappingproxy", "marker_nl", "marker_pretty", "monolog_json", "monolog_line",
        "node_inspect_ml", "ordereddict_new", "ordereddict_old", "otel_body", "otel_file",
        "pino_nested", "pjl_nested", "pjl_nested_othermsg", "pjl_nocolon", "pretty_json",
        "pydantic_str", "quoted_json", "ruby_hash", "ruby_semantic", "rust_tracing_json",
        "rust_tracing_json_fs", "sep_arrow", "sl_console_col_kw", "sl_console_kw",
        "sl_json_nested", "sl_json_nested2", "sl_kv", "sl_logfmt", "slog_json_group", "slog_text",
        "status_int", "stripe_obj", "utf16be", "zap_console_tab",
    ),
    0,
)  # fmt: skip
# Another writer's text stands before the marker.
FOREIGN = {"access_then", "stdout_prefixed_half"}


class Format(NamedTuple):
    name: str
    data: bytes
    events: int
    today: str


def _formats() -> Iterator[Format]:
    for line in (SAMPLES / "formats.jsonl").read_text().splitlines():
        one = json.loads(line)
        data = base64.b64decode(one["base64"]) if "base64" in one else one["text"].encode()
        yield Format(one["name"], data, one["events"], one["today"])


FORMATS = tuple(_formats())
EACH = pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)


def read(data: bytes) -> Parsed:
    return Parser().parse(chunk_of(data), now=NOW, wanted=everything)


@EACH
def test_each_logger_gives_its_events(form: Format) -> None:
    parsed = read(form.data)
    assert len(parsed.events) == READ.get(form.name, form.events)
    assert all(event.provider == form.name for event in parsed.events)
    assert len(parsed.foreign) == (3 if form.name in FOREIGN else len(parsed.foreign))


def test_what_was_exact_is_exact() -> None:
    exact = {form.name for form in FORMATS if form.today == "exact"}
    assert not exact & READ.keys()
    assert len(exact) > 40


@EACH
def test_many_of_a_form_are_read_as_one_of_it(form: Format) -> None:
    """A block of alike lines is read at once; what it holds stays the same."""
    parsed, single = read(form.data * 8), read(form.data)
    if form.data.endswith(b"\n"):
        assert len(parsed.events) == 8 * len(single.events)
        assert len(parsed.rejects) == 8 * len(single.rejects)
        assert len(parsed.foreign) == 8 * len(single.foreign)
