r"""Configuration: from `sidecar.yaml` and the files it names to one frozen `Config`.

`settings` declares the keys of `sidecar.yaml`, `http` its section of that name, `rulefiles` what
rule and pattern files hold. Each key is declared once, as a field of a `Table` (`sidecar.syntax`),
by the part that uses it: a receiver's keys stand in the folder of its kind. `load` reads all files
and reports every fault at once; `lint` warns of what is well written and cannot be meant. The
reading keeps what the files held, and `reload` compares that with what is there later.

`folder` is a `Path` in this example:

>>> from sidecar.config.load import check_config, load_config
>>> path = folder / "sidecar.yaml"
>>> text = '''
... sources: [{path: app.log}]
... rule_files: []
... route: {receiver: nobody}
... receivers: [{name: nobody}]
... stale_after: ${AFTER}
... '''
>>> size = path.write_text(text)
>>> load_config(str(path), {"AFTER": "2h"}).stale_after
7200.0
>>> [(one.line, one.column, one.message) for one in check_config(str(path), {}).faults]
[(6, 14, 'environment variable AFTER is not set')]
"""
