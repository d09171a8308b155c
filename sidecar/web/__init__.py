"""HTTP: what a scraper, a probe or a person can ask the daemon.

`server` listens and answers `/metrics`, the health paths and a page that links them; `api` answers
`/-/reload` and `/api/v1/…` through the port `Api`, behind which the daemon is, and shows what it
answers on the status page. `access` decides who
may ask: on loopback everybody who names this machine, beyond it whoever has the token. `metrics`
holds the metrics about the sidecar itself. `fault` stands apart so that the daemon can say what
went wrong without importing a web server, which it does after its first step.
"""
