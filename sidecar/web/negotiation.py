"""What a scraper asked for in Accept and Accept-Encoding (RFC 9110, section 12)."""

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def wants_openmetrics(accept: str) -> bool:
    """Return whether OpenMetrics 1.0.0 is asked for by name and preferred to plain text.

    A scraper that only takes an older version, a browser and curl get the plain text.
    """
    best_openmetrics = best_text = 0.0
    for kind, parameters in _parts(accept):
        quality = _quality(parameters)
        if kind == "application/openmetrics-text":
            if parameters.get("version", "1.0.0") == "1.0.0":
                best_openmetrics = max(best_openmetrics, quality)
        elif kind in ("text/plain", "text/*"):
            best_text = max(best_text, quality)
    return best_openmetrics > 0 and best_openmetrics >= best_text


def accepts_gzip(accept_encoding: str) -> bool:
    """Return whether gzip is listed, or anything is, and not refused with `q=0`."""
    found = {kind: _quality(parameters) for kind, parameters in _parts(accept_encoding)}
    return found.get("gzip", found.get("*", 0.0)) > 0


def _parts(header: str) -> list[tuple[str, dict[str, str]]]:
    """Split `kind;name=value, …`; names and kinds in lower case, quotes dropped."""
    parts = []
    for part in header.split(","):
        kind, *rest = (piece.strip() for piece in part.split(";"))
        pairs = (piece.partition("=") for piece in rest)
        parameters = {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs}
        if kind:
            parts.append((kind.lower(), parameters))
    return parts


def _quality(parameters: dict[str, str]) -> float:
    try:
        return float(parameters.get("q", "1"))
    except ValueError:
        return 0.0
