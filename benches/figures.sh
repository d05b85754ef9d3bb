# What the benchmarks share: time, medians, rows. Sourced by each, after `work` (a folder of its own) and DRIFTLESS are set.
driftless() { "$DRIFTLESS" "$@"; }
now() { date +%s%N; }
ms() { awk -v ns="$1" 'BEGIN { printf "%.0f\n", ns / 1e6 }'; }
middle() { sort -n | awk '{ v[NR] = $1 } END { print NR ? v[int((NR + 1) / 2)] : "-" }'; }
# high: the largest; with a hundred values or fewer that is their 99th percentile
high() { sort -n | awk '{ last = $1 } END { print NR ? last : "-" }'; }
# once CMD…: its wall time in ms
once() {
  local begin; begin=$(now)
  if "$@" >"$work/out" 2>&1; then ms $(($(now) - begin)); else echo "failed: $*" >&2; tail -3 "$work/out" >&2; echo -; fi
}
# median RUNS CMD…: the median of wall times, in ms
median() { local runs=$1; shift; for _ in $(seq "$runs"); do once "$@"; done | middle; }
# cpu RUNS CMD…: the median of the processor time that the command itself used, in ms
cpu() {
  local runs=$1 TIMEFORMAT='%U %S'; shift
  for _ in $(seq "$runs"); do { time "$@" >/dev/null 2>&1; } 2>&1 | awk '{ printf "%.0f\n", ($1 + $2) * 1000 }'; done | middle
}
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { if (a + 0 > 0 && b + 0 > 0) printf "%.1fx", b / a; else print "-" }'; }
row() { printf '%-66s %10s %10s %7s\n' "$@"; }
both() { row "$1" "$2" "$3" "$(ratio "$2" "$3")"; }
ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }
# spent PID SECONDS: processor time that a process uses meanwhile, in ms
spent() { local before; before=$(ticks "$1"); sleep "$2"; echo $((($(ticks "$1") - before) * 1000 / $(getconf CLK_TCK))); }
resident() { awk '/VmRSS/ { printf "%.1f", $2 / 1024 }' "/proc/$1/status"; }
private() { awk '/RssAnon/ { printf "%.1f", $2 / 1024 }' "/proc/$1/status"; }
# took FIELD LESS: a duration of the run in $work/run.json ({ secs, nanos }, in any order) in ms, LESS what is not ours
took() {
  tr -d ' \n' <"$work/run.json" | grep -o "\"$1\":{[^}]*}" | head -1 | sed 's/"nanos":\([0-9]*\),"secs":\([0-9]*\)/"secs":\2,"nanos":\1/' |
    sed -n 's/.*"secs":\([0-9]*\),"nanos":\([0-9]*\).*/\1 \2/p' | awk -v less="$2" '{ printf "%.0f", $1 * 1000 + $2 / 1e6 - less; found = 1 } END { if (!found) print "-" }'
}
export XDG_STATE_HOME=$work/state HOME=$work
git config --global user.name bench; git config --global user.email bench@example.org; git config --global init.defaultBranch main
repository() { git init -q "$1"; (cd "$1" && git add -A && git commit -qm "$2"); }
