"""Through which proxy a request over HTTP goes: Prometheus' keys, with Go's meaning of them.

Pure: the environment is an argument, and counts only for who asks for it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from sidecar.secret import Secret
from sidecar.syntax.table import Reading, Table, key, table
from sidecar.syntax.values import Flag, SecretUrl, Text, parse_url, split_host_port

_PORTS = {"http": 80, "https": 443}
_VARIABLES = {scheme: (f"{scheme.upper()}_PROXY", f"{scheme}_proxy") for scheme in _PORTS}
_EXCEPTIONS = ("NO_PROXY", "no_proxy")
_OF_OTHERS = ("ALL_PROXY", "all_proxy")  # curl's and httpx', not Go's


@table
class HttpConfig(Table):
    """Through which proxy what is told over HTTP goes."""

    proxy_url: SecretUrl = key(
        "The proxy, http:// or https://, for example http://proxy:3128.", default=None
    )
    no_proxy: Text = key(
        "Hosts reached without it, with commas: names with all below them, addresses, CIDR, `*`; "
        "a port may follow.",
        default="",
    )
    proxy_from_environment: Flag = key(
        "Take HTTP_PROXY, HTTPS_PROXY and NO_PROXY; else the environment is not looked at.",
        default=False,
    )
    # What the environment says where it is asked for: the proxy of each scheme.
    of_environment: Mapping[str, Secret] = field(default_factory=dict)

    def check(self, reading: Reading) -> "HttpConfig":
        if self.no_proxy and self.proxy_url is None:
            reading.error(self, "no_proxy", "`no_proxy` is set, but `proxy_url` is not")
        if not self.proxy_from_environment:
            return self
        if self.proxy_url is not None:
            message = "both `proxy_url` and `proxy_from_environment` are set"
            reading.error_at_key(self, "proxy_from_environment", message, "keep one of them")
            return self
        return self._from_environment(reading)

    def _from_environment(self, reading: Reading) -> "HttpConfig":
        place = reading.place(self, "proxy_from_environment")
        if other := _written(_OF_OTHERS, reading.environ):
            hint = "set HTTP_PROXY and HTTPS_PROXY"
            reading.faults.warning(place, f"{other[0]} is not looked at, as in Prometheus", hint)
        proxies: dict[str, Secret] = {}
        for scheme, names in _VARIABLES.items():
            if (found := _written(names, reading.environ)) is None:
                continue
            try:
                proxies[scheme] = Secret(_proxy(found[1]))
            except ValueError:  # its text may hold a password
                message = f"{found[0]} is not the URL of a proxy"
                reading.faults.error(place, message, "write for example http://proxy:3128")
        exceptions = _written(_EXCEPTIONS, reading.environ) or ("", "")
        return replace(self, of_environment=proxies, no_proxy=exceptions[1])

    def proxy_for(self, url: str) -> str | None:
        """Return the proxy by which `url` is reached, None for straight on; it may hold a secret.

        With exceptions, or from the environment, this machine itself is never asked by a proxy.
        """
        parts = urlsplit(url)
        proxy = self.proxy_url or self.of_environment.get(parts.scheme)
        if proxy is None:
            return None
        host = (parts.hostname or "").lower()
        port = parts.port or _PORTS.get(parts.scheme, 0)
        looks = bool(self.no_proxy) or self.proxy_from_environment
        return None if looks and is_excepted(host, port, self.no_proxy) else proxy.reveal()

    def __str__(self) -> str:
        """Return which proxy is in force, without its password; nothing where none is."""
        named = {scheme: _shown(one) for scheme, one in self.of_environment.items()}
        of = ", ".join(dict.fromkeys(f"{proxy} for {scheme}" for scheme, proxy in named.items()))
        said = _shown(self.proxy_url) if self.proxy_url else of
        return f"{said}, not for {self.no_proxy}" if said and self.no_proxy else said


def _written(names: Iterable[str], environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the first of the variables that is set to something, and its value."""
    return next(((name, environ[name]) for name in names if environ.get(name)), None)


def _proxy(text: str) -> str:
    """Return the URL of a proxy, which in the environment may lack `http://`; or ValueError."""
    return parse_url(text if "://" in text else f"http://{text}")


def _shown(proxy: Secret) -> str:
    parts = urlsplit(proxy.reveal())
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def is_excepted(host: str, port: int, exceptions: str) -> bool:
    """Tell whether `host`, in small letters, is reached without a proxy.

    By golang.org/x/net/http/httpproxy: `a.b` is a name and all below it, `.a.b` or `*.a.b` only
    what is below.
    """
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    entries = (entry.strip().lower() for entry in exceptions.split(","))
    return any(_excepts(entry, host, address, port) for entry in entries if entry)


def _excepts(entry: str, host: str, address: IPv4Address | IPv6Address | None, port: int) -> bool:
    if entry == "*":
        return True
    if "/" in entry:
        return address is not None and _holds(entry, address)
    found = split_host_port(entry)
    name, only = found or (entry.strip("[]"), port)
    if only != port:
        return False
    if (exactly := _address(name)) is not None:
        return exactly == address
    name = name.removeprefix("*")
    return host.endswith(name if name.startswith(".") else f".{name}") or host == name


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _holds(network: str, address: IPv4Address | IPv6Address) -> bool:
    try:
        return address in ip_network(network, strict=False)
    except ValueError:
        return False


def in_force(configs: Iterable[HttpConfig], environ: Mapping[str, str]) -> str:
    """Return for the log which proxies are used, and what the environment says in vain."""
    used = dict.fromkeys(filter(None, map(str, configs)))
    if used:
        return "; ".join(used)
    names = (*_VARIABLES["https"], *_VARIABLES["http"], *_OF_OTHERS)
    found = _written(names, environ)
    return f"none: {found[0]} is not asked for by proxy_from_environment" if found else ""
