"""The sentences of the optional pattern file: each example written in it is read as it says."""

import re

import pytest

from sidecar.parse.parser import Parser
from support.parse import NOW, RULES, chunk_of, everything, patterns_of

FILE = "optional/article.patterns.yaml"
PARSER = Parser(patterns_of(FILE))
EXAMPLES = re.findall(r"(?m)^  # (.*)$", (RULES / FILE).read_text())


def fields_of(line: str) -> dict[str, object]:
    (event,) = PARSER.parse(chunk_of(f"{line}\n"), now=NOW, wanted=everything).events
    return event.fields


@pytest.mark.parametrize("before", ["", "2026-11-02 08:01:16 - WARNING - app: ", "WARNING: "])
@pytest.mark.parametrize("example", EXAMPLES)
def test_each_example_is_an_event_of_its_organisation(example: str, before: str) -> None:
    fields = fields_of(before + re.sub(r"^[A-Z]+: ", "", example))
    assert fields["org_id"] == "acme"
    number = re.search(r"[23](?!-day| 天)", example)
    assert fields.get("attempt_count") == (number and number[0])


def test_both_languages_state_the_same_facts() -> None:
    facts = [tuple(fields_of(line)[name] for name in ("event_type", "status")) for line in EXAMPLES]
    assert (
        facts[:5]
        == facts[5:]
        == [
            ("invoice.payment_failed", "payment_failure"),
            ("invoice.payment_failed", "payment_failure"),
            ("invoice.payment_failed", "critical_payment_failure"),
            ("customer.subscription.grace_ended", "past_due"),
            ("customer.subscription.licenses_removed", "licenses_removed"),
        ]
    )


@pytest.mark.parametrize("line", [f"user said: {example}" for example in EXAMPLES])
def test_a_quoted_sentence_is_nobodys_fact(line: str) -> None:
    assert PARSER.parse(chunk_of(f"{line}\n"), now=NOW, wanted=everything).events == []
