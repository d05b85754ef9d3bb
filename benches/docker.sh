#!/bin/bash
# Runs inside a throw-away engine (see run.sh): DOCKER_HOST, DRIFTLESS (the release binary) and ENGINES (its programs) are set.
# Every row is printed; one that could not be measured says so and does not end the others.
set -uo pipefail
sizes=("$@"); [ ${#sizes[@]} -gt 0 ] || sizes=(50 500)
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
compose() { "$ENGINES/28/cli-plugins/docker-compose" "$@"; }
docker() { "$ENGINES/28/bin/docker" "$@"; }
. "$(dirname "$0")/figures.sh"

# Starts of containers as the engine tells them, by a listener that is there before anything is measured.
listen() { docker events --filter event=start --format '{{.TimeNano}}' >"$work/starts" 2>/dev/null & listener=$!; sleep 0.3; }
deafen() { kill "$listener" 2>/dev/null; wait "$listener" 2>/dev/null; }
# started BEGIN: ms from BEGIN to the first start after it, waited for at most 20 s
started() {
  local at
  for _ in $(seq 400); do
    at=$(awk -v begin="$1" '$1 > begin { print $1; exit }' "$work/starts")
    [ -n "$at" ] && { ms $((at - $1)); return; }
    sleep 0.05
  done
  echo -
}

root=$work/root; mkdir -p "$root"/{bin,etc,tmp,proc,sys,dev}
cp "$ENGINES/tools/busybox" "$ENGINES/tools/web" "$root/bin/"
for applet in sh sleep; do ln -s busybox "$root/bin/$applet"; done
import() { tar -C "$root" -c . | docker import --change 'ENV PATH=/bin' "${@:2}" - "$1" >/dev/null; }
for version in $(seq 12); do import "idle:$version" --change 'CMD ["sleep","1000000"]' --change "LABEL v=$version"; done
check='HEALTHCHECK --interval=500ms --timeout=2s --retries=2 CMD ["/bin/web","probe"]'
import web:1 --change 'CMD ["/bin/web"]' --change 'ENV VERSION=1 STOP=ignore' --change "$check"
import web:bad --change 'CMD ["/bin/web"]' --change 'ENV HEALTH=bad STOP=ignore' --change "$check"

project() { # project FOLDER NAME SERVICES
  mkdir -p "$1"
  { echo "name: $2"; echo "services:"; for i in $(seq "$3"); do printf '  s%s:\n    image: idle:1\n    stop_grace_period: 0s\n' "$i"; done; } >"$1/compose.yaml"
  printf 'apps:\n  %s: { path: ., health: { bake: 0s } }\n' "$2" >"$1/driftless.yaml"
}
# change TOOL…: five changes of the first service, one after the other; ms to the new container's start, and to the end
change() {
  local version begin
  : >"$work/run"; : >"$work/end"
  for version in $versions; do
    sed -i "0,/idle:[0-9]*/s//idle:$version/" compose.yaml; git commit -qam "version $version"
    begin=$(now); "$@" >/dev/null 2>&1; ms $(($(now) - begin)) >>"$work/end"
    started "$begin" >>"$work/run"
  done
}

printf 'engine %s, %s cores, load %s, compose %s, %s\n\n' "$(docker version -f '{{.Server.Version}}')" "$(nproc)" \
  "$(cut -d' ' -f1 /proc/loadavg)" "$(compose version --short)" "$(driftless --version)"
row measure driftless compose ratio
for size in "${sizes[@]}"; do
  dir=$work/p$size; project "$dir" "p$size" "$size"; repository "$dir" one; cd "$dir" || exit 1
  first=$(once driftless apply --yes -q)
  ours=$(median 15 driftless apply --yes)
  ourcpu=$(cpu 9 "$DRIFTLESS" apply --yes)
  listen; versions="2 3 4 5 6" change driftless apply --yes -q; deafen
  ourrun=$(middle <"$work/run"); ourend=$(middle <"$work/end")
  driftless down "p$size" --yes -q >/dev/null 2>&1
  firstc=$(once compose -p "p$size" up -d --quiet-pull)
  theirs=$(median 15 compose -p "p$size" up -d)
  theircpu=$(cpu 9 "$ENGINES/28/cli-plugins/docker-compose" -p "p$size" up -d)
  listen; versions="8 9 10 11 12" change compose -p "p$size" up -d; deafen
  both "no-op, $size containers, median of 15 (ms)" "$ours" "$theirs"
  both "  of it the command's own processor time (ms)" "$ourcpu" "$theircpu"
  both "first apply, $size containers (ms)" "$first" "$firstc"
  both "change 1 of $size services, commit to new container runs (ms)" "$ourrun" "$(middle <"$work/run")"
  both "  to the end of the command (ms)" "$ourend" "$(middle <"$work/end")"
  compose -p "p$size" down -t 0 >/dev/null 2>&1
done

dir=$work/back; mkdir -p "$dir"
printf 'name: back\nservices:\n  web: { image: "web:1", stop_grace_period: 1s, ports: ["18089:8080"] }\n' >"$dir/compose.yaml"
printf 'apps:\n  back: { path: ., health: { bake: 0s } }\n' >"$dir/driftless.yaml"
repository "$dir" good; cd "$dir" || exit 1; driftless apply --yes -q >/dev/null 2>&1
sed -i 's/web:1/web:bad/' compose.yaml; git commit -qam bad
driftless apply --yes -o json 2>/dev/null >"$work/run.json"
row "failed healthcheck (2 x 500 ms) seen after (ms)" "$(took gate_took 0)" - -
row "rollback to a parked container, healthy, beyond the grace of 1 s (ms)" "$(took rollback_took 1000)" - -
driftless down back --yes -q >/dev/null 2>&1

dir=$work/many; apps=50
for i in $(seq $apps); do
  mkdir -p "$dir/apps/a$i"
  printf 'services:\n  s: { image: "idle:1", stop_grace_period: 0s, network_mode: none }\n' >"$dir/apps/a$i/compose.yaml"
done
{ echo "apps:"; for i in $(seq $apps); do printf '  a%s: { path: apps/a%s, health: { bake: 0s } }\n' "$i" "$i"; done; } >"$dir/driftless.yaml"
repository "$dir" many; cd "$dir" || exit 1
driftless apply --yes -q >/dev/null 2>&1
row "no-op of $apps apps of one container, median of 9 (ms)" "$(median 9 driftless apply --yes)" - -
listen
sed -i 's/idle:1/idle:2/' apps/a7/compose.yaml; git commit -qam waiting
begin=$(now); "$DRIFTLESS" serve --repo "$dir" --interval 10s >"$work/serve.log" 2>&1 & pid=$!
row "cold start of serve: a waiting commit's container runs (ms)" "$(started "$begin")" - -
sleep 5
for version in 3 4 5 6 7; do
  sed -i "s/idle:[0-9]*/idle:$version/" apps/a7/compose.yaml
  begin=$(now); git commit -qam "version $version"; started "$begin"; sleep 2
done >"$work/run"
row "serve: commit to new container runs, 1 of $apps apps, median of 5 (ms)" "$(middle <"$work/run")" - -
deafen
row "serve, $apps apps, idle: resident memory (MiB)" "$(resident $pid)" - -
row "  of it private (MiB)" "$(private $pid)" - -
row "  processor time in 30 s, looks every 10 s (ms)" "$(spent $pid 30)" - -
kill -TERM $pid; wait $pid 2>/dev/null
row "start of the program, --version, median of 15 (ms)" "$(median 15 driftless --version)" - -
row "size of the binary (MiB)" "$(stat -c %s "$DRIFTLESS" | awk '{ printf "%.1f", $1 / 1048576 }')" - -
printf '\nload at the end: %s\n' "$(cut -d' ' -f1-3 /proc/loadavg)"
