"""Which format and encoding a scraper gets for what it asks."""

import pytest

from sidecar.web.server import accepts_gzip, wants_openmetrics

PROMETHEUS_2_42 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
PROMETHEUS_2_TEXT_ONLY = "text/plain;version=0.0.4;q=1,*/*;q=0.1"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        pytest.param(PROMETHEUS_2_42, True, id="Prometheus 2.42"),
        pytest.param(PROMETHEUS_3, True, id="Prometheus 3"),
        pytest.param(PROMETHEUS_2_TEXT_ONLY, False, id="Prometheus, text only"),
        pytest.param(BROWSER, False, id="a browser"),
        pytest.param("*/*", False, id="curl"),
        pytest.param("", False, id="nothing"),
        pytest.param("application/openmetrics-text", True, id="no version"),
        pytest.param('Application/OpenMetrics-Text; Version="1.0.0"', True, id="case and quotes"),
        pytest.param("application/openmetrics-text;version=0.0.1", False, id="an older version"),
        pytest.param("application/openmetrics-text;version=1.0.0;q=0", False, id="refused"),
        pytest.param(
            "application/openmetrics-text;q=0.2,text/plain;q=0.9", False, id="text preferred"
        ),
        pytest.param("application/openmetrics-text;q=often", False, id="a quality that is none"),
        pytest.param(";;,,=;q", False, id="rubbish"),
    ],
)
def test_openmetrics_is_for_those_who_ask_for_it(
    accept: str,
    wanted: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    assert wants_openmetrics(accept) is wanted


@pytest.mark.parametrize(
    ("accept_encoding", "accepted"),
    [
        ("gzip", True),
        ("deflate, gzip;q=1.0, *;q=0.5", True),
        ("*", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip;q=0, *", False),
    ],
    ids=str,
)
def test_gzip_is_for_those_who_accept_it(
    accept_encoding: str,
    accepted: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    assert accepts_gzip(accept_encoding) is accepted
