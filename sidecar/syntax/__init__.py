r"""Syntax: YAML files whose keys are declared as dataclasses.

`tree` turns YAML text into nodes that know their places and guess nothing. `table` holds the base
of all declarations: a class with `@table` is a table of a file, each field with `key(…)` is a key,
and the field's type (`values`) says how it is read. From that one line follow the reading, the
default, a twin `…_file` for secrets, a fallback in `global`, and the key's JSON Schema. A fault
(`faults`) has a place and a hint, and does not end the reading, so that a user hears of all of
them. `files` reads what a file names: other files, globs, secrets.

A `Reading` reads one or more files. `folder` is a `Path` in this example:

>>> from sidecar.syntax.table import Reading, Table, key, table
>>> from sidecar.syntax.values import Count, Duration
>>> @table
... class Oven(Table):
...     heat: Count = key("Degrees.")
...     bake: Duration = key("How long.", default=3600.0)
>>> path = folder / "oven.yaml"
>>> size = path.write_text("heat: 180\nbake: 45m\n")
>>> Reading().read(Oven, str(path))
Oven(heat=180, bake=2700.0)
>>> size = path.write_text("heat: high\nbkae: 45m\n")
>>> reading = Reading()
>>> oven = reading.read(Oven, str(path))
>>> for fault in reading.faults.all:
...     print(fault.line, fault.column, fault.message)
1 7 expected a number, found text
2 1 unknown key `bkae`
"""
