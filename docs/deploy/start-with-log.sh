#!/bin/sh
# Starts a host that logs to stdout so that what it prints also stands in a file that the sidecar reads.
#
#   start-with-log.sh /var/log/webhook/app.log COMMAND [ARGUMENT...]
#
# Lines are there at once. SIGTERM, SIGHUP, SIGUSR1 and SIGUSR2 reach the host (SIGINT as SIGTERM), and
# its exit code is this script's: 128 and the signal's number where one ended it. After LOG_MAX_BYTES
# (100 MiB) the file is renamed to app.log.1, what was .1 to .2, and what was .2 is gone. If the file
# cannot be written to, the host goes on, and its lines still go to stdout.
#
# POSIX sh and mkfifo are all it needs: copy it into the host's image. A host in Python is told not to
# hold its lines back (PYTHONUNBUFFERED); one in C needs `stdbuf -oL COMMAND`.
set -u
if [ $# -lt 2 ]; then
  echo "usage: $0 LOG COMMAND [ARGUMENT...]" >&2
  exit 2
fi
log=$1
shift
most=${LOG_MAX_BYTES:-104857600}
folder=${TMPDIR:-/tmp}/start-with-log.$$

# A failing redirection of `exec` would end the shell, so a subshell tries first.
open_log() {
  if (: >>"$log") 2>/dev/null; then exec 4>>"$log"; else exec 4>/dev/null; fi
}

write() {
  LC_ALL=C # so that a line's length is in bytes
  trap '' TERM INT HUP USR1 USR2
  open_log
  size=$(wc -c 2>/dev/null <"$log" || echo 0)
  while IFS= read -r line || [ -n "$line" ]; do
    printf '%s\n' "$line"
    printf '%s\n' "$line" 2>/dev/null >&4
    size=$((size + ${#line} + 1))
    if [ "$size" -ge "$most" ]; then
      mv -f "$log.1" "$log.2" 2>/dev/null
      mv -f "$log" "$log.1" 2>/dev/null && open_log
      size=0
    fi
  done
}

(umask 077 && mkdir "$folder" && mkfifo "$folder/lines") || exit 2
write <"$folder/lines" &
writer=$!
exec 3>"$folder/lines"
rm -r "$folder"
PYTHONUNBUFFERED=${PYTHONUNBUFFERED:-1} "$@" >&3 2>&1 3>&- &
host=$!
exec 3>&-
caught=
trap 'caught=1; kill -TERM "$host" 2>/dev/null' TERM INT
trap 'caught=1; kill -HUP "$host" 2>/dev/null' HUP
trap 'caught=1; kill -USR1 "$host" 2>/dev/null' USR1
trap 'caught=1; kill -USR2 "$host" 2>/dev/null' USR2
wait "$host"
code=$?
# A signal ends `wait`, not the host: its code is that of the last wait. 127: that was the one before.
while [ -n "$caught" ]; do
  caught=
  wait "$host"
  last=$?
  [ "$last" -eq 127 ] || code=$last
done
wait "$writer"
exit "$code"
