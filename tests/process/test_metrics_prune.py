"""`sidecar metrics prune` against a daemon."""

from pathlib import Path

from click.testing import CliRunner

from sidecar.cli.alerts import metrics
from support.daemon import until
from support.live import staged

RULES = """\
metrics:
  - {name: by_pod_total, help: By pod., match: ['pod!=""'], labels: {pod: pod}}
"""


def test_pruned_series_are_gone_for_good_and_the_sum_stays(tmp_path: Path) -> None:
    with staged(tmp_path, rules=RULES) as stage:
        for pod in ("web-1", "web-2", "db-1"):
            stage.log("ok", pod=pod)
        stage.counted(3)
        url = ["--url", f"http://127.0.0.1:{stage.daemon.port}"]
        wrong = CliRunner().invoke(metrics, ["prune", *url, "pod"])
        assert wrong.exit_code == 1
        assert "'pod' is not a matcher" in wrong.output
        done = CliRunner().invoke(metrics, ["prune", *url, 'pod=~"web-.*"'])
        assert (done.exit_code, done.output) == (0, "pruned 2 series\n")

        def pods() -> dict[str, float]:
            found = stage.daemon.samples().items()
            return {name: value for name, value in found if name.startswith("by_pod_total{")}

        left = {'by_pod_total{pod="db-1"}': 1.0, 'by_pod_total{pod="__other__"}': 2.0}
        until(lambda: pods() == left, "two series are gone")
        stage.log("ok", pod="web-1")
        until(lambda: pods() == {**left, 'by_pod_total{pod="web-1"}': 1.0}, "one comes again")
