#!/bin/bash
# throwaway.sh BINDIR CMD...: runs CMD with DOCKER_HOST set to an engine of its own; when CMD ends, everything of that engine is gone.
#
# BINDIR holds dockerd and what it calls (28/bin of setup.sh). For CMD: DOCKER_HOST, DRIFTLESS_ENGINE_DIR (socket, log)
# and DRIFTLESS_ENGINE_PID (a process in the engine's namespaces, as the caller numbers it: nsenter --net --target).
#
# Network namespace: own bridges, firewall rules and 127.0.0.1 ports. Mount namespace: no mount is left behind. PID namespace:
# no shim and no container outlives it. Data lies on a tmpfs in that mount namespace. So SIGKILL of any process here leaves
# at most an empty folder and cgroup folders, which the next run sweeps. /sys is not remounted (as `ip netns exec` would do),
# so cgroup v1 works.
set -euo pipefail
[ "$(id -u)" = 0 ] || exec sudo -E "$0" "$@"
bin=$(cd "$1" && pwd); shift
lib=${bin%/*/bin}/lib

# discard DIR: removes what an ended engine left.
discard() {
  local dir=$1 name=${1##*/} _
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    find /sys/fs/cgroup/*/"$name" /sys/fs/cgroup/"$name" -depth -type d -exec rmdir {} + 2>/dev/null || true
    compgen -G "/sys/fs/cgroup/*/$name" >/dev/null || [ -e "/sys/fs/cgroup/$name" ] || break
    sleep .1
  done
  rm -rf --one-file-system "$dir"
}
# A live engine holds the lock of its folder; the lock goes with its process.
for old in /tmp/driftless-engine.*; do
  [ -e "$old/lock" ] && flock -n "$old/lock" true && discard "$old"
done

dir=$(mktemp -d /tmp/driftless-engine.XXXXXX); chmod 755 "$dir"
exec 8>"$dir/lock"; flock 8
trap 'discard "$dir"' EXIT
child=
trap '[ -z "$child" ] || { kill -KILL "$child"; wait "$child" || true; } 2>/dev/null; exit 143' TERM INT HUP
mkdir "$dir/data"
# Swarm writes /var/lib/docker/network/files whatever --data-root says, so a tmpfs covers it. The folder must exist for that.
mkdir -p /var/lib/docker 2>/dev/null || true

# --pdeathsig and --kill-child: SIGKILL of this script ends unshare, and that ends the namespaces. The inner shell is process 1:
# when it ends, the kernel kills all others.
setpriv --pdeathsig KILL unshare --net --mount --pid --fork --kill-child --propagation private -- bash -c '
  set -e
  bin=$1 dir=$2 lib=$3; shift 3
  read -r DRIFTLESS_ENGINE_PID _ </proc/self/stat                 # still the outer /proc: our number out there
  mount -t proc proc /proc
  export DRIFTLESS_ENGINE_PID DRIFTLESS_ENGINE_DIR=$dir DOCKER_HOST=unix://$dir/docker.sock
  "$bin/busybox" ip link set lo up
  mount -t tmpfs -o mode=755 tmpfs /run; mkdir -p /run/lock       # own xtables lock, own /run/docker
  mount -t tmpfs tmpfs /var/lib/docker
  mount -t tmpfs -o mode=755 tmpfs "$dir/data"
  # Own configuration only: neither /etc/docker/daemon.json nor a proxy of the environment. A file, so that a test can
  # start the engine again after it stopped or killed it (through nsenter).
  echo "{}" >"$dir/daemon.json"
  printf "%s\n" "#!/bin/bash" "# starts this engine and returns when it answers" "set -e" "bin=$(printf %q "$bin") dir=$dir lib=$(printf %q "$lib")" >"$dir/start"
  cat >>"$dir/start" <<"START"
rm -f "$dir/data/docker.pid"
env -u http_proxy -u https_proxy -u HTTP_PROXY -u HTTPS_PROXY PATH="$bin:$PATH" HOME="$dir/data" LD_LIBRARY_PATH="$lib" \
  "$bin/dockerd" --config-file "$dir/daemon.json" -H "unix://$dir/docker.sock" --data-root "$dir/data/docker" --exec-root "$dir/data/run" \
  --pidfile "$dir/data/docker.pid" --cgroup-parent "/${dir##*/}" --shutdown-timeout 2 ${DRIFTLESS_ENGINE_FLAGS:-} >>"$dir/log" 2>&1 </dev/null & engine=$!
echo $engine >"$dir/engine-pid"
tries=0
until [ -S "$dir/docker.sock" ] && DOCKER_CONFIG=$dir "$bin/docker" -H "unix://$dir/docker.sock" version >/dev/null 2>&1; do
  kill -0 $engine 2>/dev/null && [ $((tries += 1)) -lt 600 ] || { echo "the engine did not start:" >&2; tail -5 "$dir/log" >&2; exit 1; }
  sleep .05
done
START
  chmod +x "$dir/start"; "$dir/start"
  export PATH=$PATH:$bin
  rc=0; "$@" || rc=$?
  exit $rc' _ "$bin" "$dir" "$lib" "$@" <&0 8>&- & child=$!
rc=0; wait "$child" || rc=$?
exit $rc
