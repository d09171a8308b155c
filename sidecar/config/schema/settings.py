"""The schema of `sidecar.yaml`."""

from sidecar.config.schema.shapes import (
    Schema,
    choice,
    document,
    flag,
    listing,
    not_both,
    number,
    or_variable,
    ref,
    table,
    text,
    texts_by_name,
    whole,
)
from sidecar.notify.model import EmailConfig, Rate, Receiver
from sidecar.notify.redact import RedactPolicy
from sidecar.parse.event import LogFormat

_SHORTEST_CUT = 20
_RECEIVER = Receiver(name="")
_MAIL = EmailConfig(to=(), from_="", smarthost=("", 0))
_RESOLVED = "Also tell when alerts end."


def config_schema() -> Schema:
    """Return the schema of `sidecar.yaml`."""
    keys = {
        "sources": listing(_source(), "The logs to read.", least=1),
        "rule_files": listing(text(), "Globs of rule files, relative to this file."),
        "pattern_files": listing(text(), "Globs of pattern files."),
        "template_files": listing(
            text(), "Globs of Jinja2 files; one named like a shipped template replaces it."
        ),
        "state": table({"path": text("The SQLite file.")}, "What outlives a restart."),
        "http": _http(),
        "stale_after": or_variable(
            ref("positive_duration", "An event older than this when read is told in a digest.")
        ),
        "redact": _redact(),
        "global": _global(),
        "route": _root_route(),
        "receivers": listing(_receiver(), "Who can be told."),
    }
    required = ("sources", "rule_files", "route", "receivers")
    return document(
        "Configuration of the sidecar",
        table(
            keys,
            "Values may hold ${NAME} or ${NAME:-default}; docs/configuration.md lists every key.",
            required=required,
        ),
        {"route": _route()},
    )


def _source() -> Schema:
    keys = {
        "path": text(
            'A glob; rotated siblings are found by themselves; "-" is stdin.', minLength=1
        ),
        "format": or_variable(
            choice(LogFormat, "How lines are wrapped; auto recognises each.", LogFormat.AUTO)
        ),
        "start_at": or_variable(
            choice(
                ("end", "beginning"),
                "Where to start in files that exist at the very first start.",
                "end",
            )
        ),
    }
    return table(keys, required=["path"])


def _http() -> Schema:
    keys = {
        "listen": text("host:port of /metrics, health paths and API.", pattern=r":\d{1,5}$|\$\{"),
        **_secret("token", "Bearer token of all but /metrics and health."),
    }
    return table(keys, "What is served.", **not_both("token", "token_file"))


def _redact() -> Schema:
    keys = {
        "keys": listing(text(), "Names of fields to hide, at any depth."),
        "patterns": listing(text(), "RE2 patterns to hide anywhere in a text."),
        "max_length": or_variable(
            whole(
                "A value longer than this is cut.",
                least=_SHORTEST_CUT,
                default=RedactPolicy().max_length,
            )
        ),
    }
    return table(keys, "What to hide beside tokens, passwords and addresses.")


def _global() -> Schema:
    keys = {
        **_secret("slack_api_url", "An incoming webhook, for receivers that name none.", url=True),
        **_secret("slack_app_token", "A bot token with the scope chat:write."),
        "slack_app_url": ref("url", "Slack's chat.postMessage, or a stand-in."),
        "smtp_smarthost": _host_port("The mail server, host:port."),
        "smtp_from": ref("mailbox", "The sender's."),
        "smtp_hello": text("The name we greet the mail server with."),
        "smtp_auth_username": text("Login; empty: none."),
        **_secret("smtp_auth_password", "Password of the login."),
        "smtp_require_tls": or_variable(flag("STARTTLS, or no mail at all.", default=True)),
    }
    pairs = [("slack_api_url", "slack_app_token"), *_twins("slack_api_url", "slack_app_token")]
    pairs += _twins("smtp_auth_password")
    return table(keys, "Defaults of receivers.", allOf=[not_both(*pair) for pair in pairs])


def _host_port(description: str) -> Schema:
    return text(description, pattern=r"^[^\s]+:\d{1,5}$|\$\{")


def _secret(key: str, description: str, *, url: bool = False) -> dict[str, Schema]:
    return {
        key: ref("url", description) if url else text(description),
        f"{key}_file": text(f"A file that holds `{key}`."),
    }


def _twins(*keys: str) -> list[tuple[str, str]]:
    return [(key, f"{key}_file") for key in keys]


def _route_keys() -> dict[str, Schema]:
    label = {"anyOf": [ref("label"), {"const": "..."}, {"type": "string", "pattern": r"\$\{"}]}
    return {
        "receiver": text("Who is told."),
        "group_by": listing(
            label, "Alerts equal in these are told together; ['...']: by all.", uniqueItems=True
        ),
        "group_wait": or_variable(ref("duration", "How long a new group waits for others.")),
        "group_interval": or_variable(
            ref("positive_duration", "Least time between two messages about a changed group.")
        ),
        "repeat_interval": or_variable(
            ref("positive_duration", "When to say again that an alert still fires.")
        ),
        "cooldown": or_variable(
            ref("duration", "Least time between messages about one alert at one severity.")
        ),
        "group_limit": or_variable(whole("Alerts that end `group_wait` at once; 0: none.")),
        "routes": listing(ref("route"), "Tried in order."),
    }


def _root_route() -> Schema:
    return table(
        _route_keys(), "Alertmanager's tree: which alert goes to whom.", required=["receiver"]
    )


def _route() -> Schema:
    keys = {
        "matchers": listing(
            {"anyOf": [ref("matcher"), {"type": "string", "pattern": r"\$\{"}]},
            "Tests of labels, all of which must hold.",
        ),
        "continue": or_variable(flag("Go on to the next route as well.", default=False)),
    }
    return table({**_route_keys(), **keys}, "What is not written is inherited.")


def _receiver() -> Schema:
    keys = {
        "name": text("The receiver's name.", minLength=1),
        "max_age": or_variable(ref("positive_duration", "How long delivery is tried.")),
        "quick_retries": or_variable(
            whole("Tries before a failure counts.", default=_RECEIVER.quick_retries)
        ),
        "slack_configs": listing(_slack(), "Slack channels."),
        "email_configs": listing(_email(), "Mailboxes."),
    }
    return table(keys, required=["name"])


def _slack() -> Schema:
    keys = {
        "channel": text(
            "#name or ID; an incoming webhook posts where it was made for.", pattern=r"^\S+$|\$\{"
        ),
        **_secret("api_url", "An incoming webhook.", url=True),
        **_secret("app_token", "A bot token."),
        "app_url": ref("url", "Slack's chat.postMessage, or a stand-in."),
        "send_resolved": or_variable(flag(_RESOLVED, default=True)),
        "title": ref("template"),
        "text": ref("template"),
        "rate": _rate(Rate()),
    }
    pairs = [("api_url", "app_token"), *_twins("api_url", "app_token")]
    return table(keys, required=["channel"], allOf=[not_both(*pair) for pair in pairs])


def _email() -> Schema:
    keys = {
        "to": {
            "description": "Mailboxes, in one text with commas or a list.",
            "anyOf": [text(pattern=r"@|\$\{"), listing(ref("mailbox"), least=1)],
        },
        "from": ref("mailbox", "The sender's."),
        "smarthost": _host_port("The mail server, host:port."),
        "hello": text("The name we greet the mail server with."),
        "auth_username": text("Login."),
        **_secret("auth_password", "Password of the login."),
        "require_tls": or_variable(flag("STARTTLS, or no mail at all.")),
        "tls_config": table(
            {
                "ca_file": text("Certificates to trust."),
                "insecure_skip_verify": or_variable(flag("Trust any certificate.", default=False)),
            },
            "How the mail server proves who it is.",
        ),
        "send_resolved": or_variable(flag(_RESOLVED, default=True)),
        "subject": ref("template"),
        "text": ref("template"),
        "html": ref("template"),
        "headers": texts_by_name("Added to each mail.", names="header"),
        "rate": _rate(_MAIL.rate),
    }
    pairs = _twins("auth_password")
    return table(keys, required=["to"], allOf=[not_both(*pair) for pair in pairs])


def _rate(default: Rate) -> Schema:
    keys = {
        "per_second": or_variable(number("Messages a second.", default=default.per_second)),
        "burst": or_variable(whole("Messages at once.", least=1, default=default.burst)),
    }
    return table(keys, "What the other side takes; the rest is told in a digest.")
