#!/bin/bash
# images.sh OUT.tar PAUSE BUSYBOX WEB: the images of the test cluster as one archive for `ctr images import`, made offline.
#
# They are the Docker images of the suite again (tests/suite/support/images.rs) with the same names, without healthchecks,
# which Kubernetes does not read: tests/engines/web.rs tells what the server does and which variables change it.
set -euo pipefail
out=$1 pause=$2 busybox=$3 web=$4
t=$(mktemp -d); trap 'rm -rf "$t"' EXIT
mkdir -p "$t/out" "$t/pause" "$t/base"/{bin,etc,root,tmp,proc,sys,dev}
case $(uname -m) in x86_64) arch=amd64;; aarch64) arch=arm64;; *) arch=$(uname -m);; esac

cp "$pause" "$t/pause/pause"
cp -L "$busybox" "$t/base/bin/busybox"; cp -L "$web" "$t/base/bin/web"; chmod 755 "$t/base/bin"/*
for applet in $("$busybox" --list); do [ "$applet" = busybox ] || ln -sf busybox "$t/base/bin/$applet"; done
printf 'root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/tmp:/bin/sh\n' >"$t/base/etc/passwd"
printf 'root:x:0:\napp:x:1000:\n' >"$t/base/etc/group"
chmod 1777 "$t/base/tmp"; chmod 700 "$t/base/root"
for root in pause base; do
  tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$t/$root" -cf "$t/out/$root.tar" .
done

manifest=
image() { # image NAME ROOT CONFIG
  local digest id
  digest=$(sha256sum "$t/out/$2.tar" | cut -d' ' -f1)
  printf '{"architecture":"%s","os":"linux","created":"1970-01-01T00:00:00Z","config":%s,"rootfs":{"type":"layers","diff_ids":["sha256:%s"]},"history":[{"created":"1970-01-01T00:00:00Z","created_by":"%s"}]}' \
    "$arch" "$3" "$digest" "$1" >"$t/config"
  id=$(sha256sum "$t/config" | cut -d' ' -f1)
  mv "$t/config" "$t/out/$id.json"
  manifest+="${manifest:+,}{\"Config\":\"$id.json\",\"RepoTags\":[\"$1\"],\"Layers\":[\"$2.tar\"]}"
}
web() { # web TAG [VARIABLE]
  image "docker.io/library/web:$1" base "{\"Env\":[\"PATH=/bin\",\"VERSION=$1\"${2:+,\"$2\"}],\"Cmd\":[\"/bin/web\"],\"ExposedPorts\":{\"8080/tcp\":{}}}"
}
shell() { # shell NAME SCRIPT
  image "docker.io/library/$1" base "{\"Env\":[\"PATH=/bin\"],\"Cmd\":[\"sh\",\"-c\",\"$2\"]}"
}
image driftless.test/pause:1 pause '{"Entrypoint":["/pause"]}'
image docker.io/library/base:1 base '{"Env":["PATH=/bin"],"Cmd":["sh"]}'
for tag in 1 2 3 plain; do web $tag; done
web broken HEALTH=bad          # runs and answers, but /health says 503
web slow-stop STOP=ignore      # ignores SIGTERM, so a stop lasts the whole grace period
shell web:crash 'echo boom >&2; sleep 0.3; exit 3'
shell job:ok 'echo done'
shell job:fail 'echo no database >&2; exit 1'
printf '[%s]' "$manifest" >"$t/out/manifest.json"
tar --sort=name --mtime=@0 --owner=0 --group=0 -C "$t/out" -cf "$out.$$" .
mv "$out.$$" "$out"
