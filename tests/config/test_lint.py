"""Rules that are well written and can never fire, and those that only look so."""

from pathlib import Path

import pytest

from sidecar.config.load import check_files

RULE = """\
groups:
  - name: g
    rules:
      - alert: A
        match: [{match}]
        condition: {condition}
        within: 1h
        labels: {{severity: info}}
"""
STATE = RULE.replace("        within: 1h\n", "")


def warnings(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "a.rules.yaml"
    path.write_text(text)
    faults = check_files([str(path)], [], []).faults
    assert [fault for fault in faults if fault.severity == "error"] == []
    return [str(fault).removeprefix(f"{path}:") for fault in faults]


def of(tmp_path: Path, condition: str, match: str = "") -> list[str]:
    text = STATE if condition.startswith("'last(") else RULE
    return warnings(tmp_path, text.format(condition=condition, match=match))


@pytest.mark.parametrize(
    ("condition", "why"),
    [
        ("count() < 0", "count() is a whole number from 0 up"),
        ("count() <= -1", "count() is a whole number from 0 up"),
        ("count() == 2.5", "count() is a whole number from 0 up"),
        ("'count() in [-1, 0.5]'", "count() is a whole number from 0 up"),
        ("distinct(n) < 0", "distinct(n) is a whole number from 0 up"),
        ("count() > 5 and count() < 3", "count() is a whole number from 0 up"),
        ("count() > 2 and count() < 3", "count() is a whole number from 0 up"),
        ("max(n) > 5 and max(n) < 3", "no number passes all of its comparisons"),
        ("min(n) == 1 and min(n) != 1", "no number passes all of its comparisons"),
        (
            "count(a=b) / count() > 1",
            'count(a="b") / count() lies between 0 and 1',
        ),
        (
            "count(a=b) offset 1d / count() offset 1d > 1",
            'count(a="b") offset 1d / count() offset 1d lies between 0 and 1',
        ),
        ("distinct(a) / count() > 1", "distinct(a) / count() lies between 0 and 1"),
        (
            "count(a=b) / count(a=c) < 0",
            'count(a="b") / count(a="c") is never below 0',
        ),
    ],
)
def test_a_threshold_that_no_value_reaches(tmp_path: Path, condition: str, why: str) -> None:
    message = "the condition can never be true"
    assert of(tmp_path, condition) == [f"6:20: warning: {message}; {why}"]


@pytest.mark.parametrize(
    "condition",
    [
        "count() < 1",
        "count() == 0",
        "count() > 2 and count() < 4",
        "distinct(n) > 256",
        "max(n) > 5 and min(n) < 3",
        "max(n) > 2 and max(n) < 3",
        "avg(n) == 0.5 and avg(n) != 1",
        "sum(n) < -10",
        "sum(n) / count() > 1 and count() >= 9",
        "count(a=b) / count(a=c) > 1 and not sum(n) < 9",
        "count(a=b) / count() >= 1 and distinct(n) > 2",
        "(count(a=b) / count() > 0.05 or min(n) == 3) and count(a=b) > 9",
        "max(n) > 5 or max(n) < 3",
        "max(n) > 5 and not max(n) > 7",
        "not max(n) > 5 and not max(n) < 7",
    ],
)
def test_a_threshold_that_can_be_reached(tmp_path: Path, condition: str) -> None:
    assert of(tmp_path, condition) == []


@pytest.mark.parametrize(
    ("condition", "never", "why"),
    [
        (
            "max(n) > 5 and not max(n) > 3",
            "the condition",
            "no number passes all of its comparisons",
        ),
        (
            "max(n) > 1 or (count() > 5 and not count() > 4)",
            "`count() > 5 and not count() > 4`",
            "count() is a whole number from 0 up",
        ),
        (
            "max(n) > 9 and (max(n) in [1, 2] or count() > 1)",
            "`max(n) > 9 and max(n) in [1, 2]`",
            "no number passes all of its comparisons",
        ),
    ],
)
def test_a_way_that_leads_nowhere(tmp_path: Path, condition: str, never: str, why: str) -> None:
    found = of(tmp_path, f"'{condition}'")
    assert found == [f"6:20: warning: {never} can never be true; {why}"]


@pytest.mark.parametrize(
    "condition",
    [
        "count(a=b) / count() > 0.5",
        "count(a=b) / count() > 0.5 and max(n) < 3",
        "count(a=b) / count() > 0.5 or count() > 9",
        "not count(a=b) / count() < 0.5",
    ],
)
def test_a_ratio_without_a_guard_against_small_numbers(tmp_path: Path, condition: str) -> None:
    (found,) = of(tmp_path, condition)
    assert found == (
        '6:20: warning: count(a="b") / count() has no guard against small numbers; '
        "one event can decide it; write for example `and count() >= 10`"
    )


@pytest.mark.parametrize(
    ("match", "excluded"),
    [
        ("status=a, status=b", '`status="a"` and `status="b"`'),
        ("status=a, status!=a", '`status="a"` and `status!="a"`'),
        (
            "'status=~\"a|b\"', status!=a, status!=b",
            '`status=~"a|b"` and `status!="a"` and `status!="b"`',
        ),
        ("'status=~\"a.*\"', status=b", '`status=~"a.*"` and `status="b"`'),
    ],
)
def test_matchers_that_exclude_each_other(tmp_path: Path, match: str, excluded: str) -> None:
    expected = f"5:16: warning: no event can match: {excluded} exclude each other"
    assert of(tmp_path, "count() > 1", match) == [expected]


@pytest.mark.parametrize(
    "match",
    [
        "status=a, other=b",
        "'status=~\"a|b\"', status!=a",
        "'status=~\"a.c\"', 'status!=\"a.c\"'",
        "'status=~\"a.*\"', 'status=~\".*b\"'",
        "status!=a, status!=b",
    ],
)
def test_matchers_that_leave_something(tmp_path: Path, match: str) -> None:
    assert of(tmp_path, "count() > 1", match) == []


def test_a_filter_that_match_excludes(tmp_path: Path) -> None:
    (said,) = of(tmp_path, "count(status=b) > 1", "status=a")
    assert said.endswith(
        'count(status="b") has nothing to count: `status="a"` and `status="b"` exclude each other'
    )


@pytest.mark.parametrize(
    ("condition", "match", "said"),
    [
        (
            "'last(status) in [pastdue, unpaid]'",
            "'status=~\"active|past_due|unpaid\"'",
            "status is never `pastdue` here: no such event matches; did you mean `past_due`?",
        ),
        (
            "'last(status) == gone'",
            "status!=gone",
            (
                "status is never `gone` here: no such event matches; "
                "`match` and the condition differ in what `status` can be"
            ),
        ),
        (
            "'last(status) != active'",
            "status=active",
            "the condition can never be true; last(status) cannot be all of that at once",
        ),
        (
            "'last(status) == a and last(status) == b'",
            "",
            "the condition can never be true; last(status) cannot be all of that at once",
        ),
        (
            "'last(n) > 3 and last(n) < 2'",
            "",
            "the condition can never be true; last(n) cannot be all of that at once",
        ),
    ],
)
def test_a_state_that_no_event_can_give(
    tmp_path: Path, condition: str, match: str, said: str
) -> None:
    (found,) = of(tmp_path, condition, match)
    assert found.endswith(f"warning: {said}")


@pytest.mark.parametrize(
    ("condition", "match"),
    [
        ("'last(status) in [past_due, unpaid]'", "'status=~\"active|past_due|unpaid\"'"),
        ("'last(status) != active'", ""),
        ("'last(status) != active'", "'status=~\"active|gone\"'"),
        ("'last(n) > 3'", "'n=~\"[0-9]+\"'"),
        ("'last(n) >= 3'", "n=3"),
        ("'last(n) in [1, 2]'", ""),
        ("'last(n) > 3 and last(n) < 4'", ""),
    ],
)
def test_a_state_that_some_event_can_give(tmp_path: Path, condition: str, match: str) -> None:
    assert of(tmp_path, condition, match) == []


def resolving(resolve: str, condition: str = "count() > 1") -> str:
    rule = RULE.format(condition=condition, match="status=a, plan=pro")
    return f"{rule}        resolve: {{match: [{resolve}]}}\n"


@pytest.mark.parametrize("resolve", ["status=a", "plan=pro, status=a"])
def test_a_resolve_that_each_matching_event_meets(tmp_path: Path, resolve: str) -> None:
    (said,) = warnings(tmp_path, resolving(resolve))
    assert said.startswith(
        "9:18: warning: every event that matches resolves as well, so the alert can never fire"
    )


def test_a_resolve_that_no_event_meets(tmp_path: Path) -> None:
    (said,) = warnings(tmp_path, resolving("status=x, status=y"))
    assert "no event can resolve the alert" in said


@pytest.mark.parametrize("condition", ["count() > 1", "count() < 1"])
def test_a_resolve_that_says_more_than_match(tmp_path: Path, condition: str) -> None:
    assert warnings(tmp_path, resolving("status=a, paid=yes", condition)) == []


def test_a_metric_that_can_never_count(tmp_path: Path) -> None:
    text = "metrics: [{name: a_total, help: A., match: [status=a, status=b]}]\n"
    (said,) = warnings(tmp_path, text)
    assert said.startswith("1:44: warning: no event can match")
