#!/bin/bash
# Runs inside a throw-away engine (see run.sh): DOCKER_HOST, DRIFTLESS (the release binary) and ENGINES (its programs) are set.
set -euo pipefail
sizes=("$@"); [ ${#sizes[@]} -gt 0 ] || sizes=(50 500)
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
compose() { "$ENGINES/28/cli-plugins/docker-compose" "$@"; }
now() { date +%s%N; }
ms() { awk -v ns="$1" 'BEGIN { printf "%.0f", ns / 1e6 }'; }
# median RUNS CMD…: the median of wall times, in ms
median() {
  local runs=$1; shift
  for _ in $(seq "$runs"); do
    local begin; begin=$(now); "$@" >/dev/null 2>&1 || { echo "failed: $*" >&2; return 1; }; ms $(($(now) - begin)); echo
  done | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}
row() { printf '%-52s %12s %12s %8s\n' "$@"; }

root=$work/root; mkdir -p "$root"/{bin,etc,tmp,proc,sys,dev}
cp "$ENGINES/tools/busybox" "$ENGINES/tools/web" "$root/bin/"
for applet in sh sleep; do ln -s busybox "$root/bin/$applet"; done
check='HEALTHCHECK --interval=500ms --timeout=2s --retries=3 CMD ["/bin/web","probe"]'
docker() { "$ENGINES/28/bin/docker" "$@"; }
import() { tar -C "$root" -c . | docker import --change 'ENV PATH=/bin' "${@:2}" - "$1" >/dev/null; }
import idle:1 --change 'CMD ["sleep","1000000"]'
import idle:2 --change 'CMD ["sleep","1000000"]' --change 'LABEL v=2'
import web:1 --change 'CMD ["/bin/web"]' --change 'ENV VERSION=1' --change "$check"
import web:bad --change 'CMD ["/bin/web"]' --change 'ENV HEALTH=bad' --change 'HEALTHCHECK --interval=500ms --timeout=2s --retries=2 CMD ["/bin/web","probe"]'

export XDG_STATE_HOME=$work/state HOME=$work
git config --global user.name bench; git config --global user.email bench@example.org; git config --global init.defaultBranch main
repository() { git init -q "$1"; (cd "$1" && git add -A && git commit -qm "$2"); }
project() { # project FOLDER NAME SERVICES
  mkdir -p "$1"
  { echo "name: $2"; echo "services:"; for i in $(seq "$3"); do printf '  s%s:\n    image: idle:1\n    stop_grace_period: 0s\n' "$i"; done; } >"$1/compose.yaml"
  printf 'apps:\n  %s: { path: ., health: { bake: 0s } }\n' "$2" >"$1/driftless.yaml"
}
cpu=$(nproc); printf 'engine %s, %s cores, %s\n\n' "$(docker version -f '{{.Server.Version}}')" "$cpu" "$("$DRIFTLESS" --version)"
row measure driftless compose ratio
for size in "${sizes[@]}"; do
  dir=$work/p$size; project "$dir" "p$size" "$size"; repository "$dir" one; cd "$dir"
  begin=$(now); "$DRIFTLESS" apply --yes -q >/dev/null 2>&1; first=$(ms $(($(now) - begin)))
  ours=$(median 10 "$DRIFTLESS" apply --yes)
  if [ "$size" = "${sizes[0]}" ]; then
    sed -i '0,/idle:1/s//idle:2/' compose.yaml; git commit -qam two
    begin=$(now); "$DRIFTLESS" apply --yes -q >/dev/null 2>&1; change=$(ms $(($(now) - begin)))
  fi
  "$DRIFTLESS" down "p$size" --yes -q >/dev/null 2>&1
  begin=$(now); compose -p "p$size" up -d --quiet-pull >/dev/null 2>&1; firstc=$(ms $(($(now) - begin)))
  theirs=$(median 10 compose -p "p$size" up -d)
  if [ "$size" = "${sizes[0]}" ]; then
    sed -i '0,/idle:2/s//idle:1/' compose.yaml
    begin=$(now); compose -p "p$size" up -d >/dev/null 2>&1; changec=$(ms $(($(now) - begin)))
  fi
  compose -p "p$size" down -t 0 >/dev/null 2>&1
  ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.1fx", b / (a > 0 ? a : 1) }'; }
  row "no-op, $size containers, median of 10 (ms)" "$ours" "$theirs" "$(ratio "$ours" "$theirs")"
  row "first apply, $size containers (ms)" "$first" "$firstc" "$(ratio "$first" "$firstc")"
  [ "$size" != "${sizes[0]}" ] || row "change 1 of $size services, commit to done (ms)" "$change" "$changec" "$(ratio "$change" "$changec")"
done

dir=$work/back; mkdir -p "$dir"
printf 'name: back\nservices:\n  web: { image: "web:1", stop_grace_period: 1s, ports: ["18089:8080"] }\n' >"$dir/compose.yaml"
printf 'apps:\n  back: { path: ., health: { bake: 0s } }\n' >"$dir/driftless.yaml"
repository "$dir" good; cd "$dir"; "$DRIFTLESS" apply --yes -q >/dev/null 2>&1
sed -i 's/web:1/web:bad/' compose.yaml; git commit -qam bad
"$DRIFTLESS" apply --yes -o json 2>/dev/null >"$work/run.json" || true
# Durations in JSON are { secs, nanos }.
took() { tr -d ' \n' <"$work/run.json" | sed -n "s/.*\"$1\":{\"secs\":\([0-9]*\),\"nanos\":\([0-9]*\)}.*/\1 \2/p" | awk '{ printf "%d", $1 * 1000 + $2 / 1e6 }'; }
row "failed gate seen after (ms)" "$(took gate_took)" "-" "-"
row "rollback to a parked container, healthy again (ms)" "$(took rollback_took)" "-" "-"
"$DRIFTLESS" down back --yes -q >/dev/null 2>&1 || true

dir=$work/many; for i in $(seq 50); do mkdir -p "$dir/apps/a$i"; printf 'services:\n  s: { image: "idle:1", stop_grace_period: 0s, network_mode: none }\n' >"$dir/apps/a$i/compose.yaml"; done
repository "$dir" many; cd "$dir"
"$DRIFTLESS" apply --yes -q >/dev/null 2>&1
"$DRIFTLESS" serve --repo "$dir" --interval 10s >"$work/serve.log" 2>&1 & pid=$!
sleep 25
row "serve with 50 apps: resident memory (MiB)" "$(awk '/VmRSS/ { printf "%.1f", $2 / 1024 }' /proc/$pid/status)" "-" "-"
row "  CPU time after 25 s, polls of 10 s (ms)" "$(awk -v hz="$(getconf CLK_TCK)" '{ printf "%d", ($14 + $15) * 1000 / hz }' /proc/$pid/stat)" "-" "-"
kill -TERM $pid; wait $pid 2>/dev/null || true
row "start of the program, --version, median of 10 (ms)" "$(median 10 "$DRIFTLESS" --version)" "-" "-"
row "size of the binary (MiB)" "$(stat -c %s "$DRIFTLESS" | awk '{ printf "%.1f", $1 / 1048576 }')" "-" "-"
