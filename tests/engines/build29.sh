#!/bin/bash
# build29.sh: engine 29 from the Go module proxy, for `make test-engines`; engines/29/bin beside those of setup.sh.
# Needs Go; about 5 minutes of CPU, once.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${DRIFTLESS_CACHE:-$HOME/.cache/driftless}/engines/$(cat "$here/generation")
engine=v2.0.0-beta.24 version=29.9.3 runc=1.5.2 moby=github.com/moby/moby/v2
stamp=$(cksum <"$here/build29.sh") bin=$cache/29/bin
[ "$(cat "$cache/29/.ready" 2>/dev/null)" = "$stamp" ] && exit 0
"$here/setup.sh"
mkdir -p "$cache/29/build" "$bin"
exec 9>"$cache/29/.lock"; flock 9
[ "$(cat "$cache/29/.ready" 2>/dev/null)" = "$stamp" ] && exit 0

# runc talks to the kernel's filter through libseccomp.
if ! [ -e /usr/include/seccomp.h ] || ! command -v pkg-config >/dev/null; then
  install='apt-get update -qq && apt-get install -qq -y --no-install-recommends libseccomp-dev pkg-config'
  if [ "$(id -u)" = 0 ]; then sh -c "$install"; else sudo sh -c "$install"; fi
fi
cd "$cache/29/build"
export GOTOOLCHAIN=auto
[ -f go.mod ] || printf 'module driftless.invalid/engine\ngo 1.26\n' >go.mod
GOFLAGS='-mod=mod -buildvcs=false' go get $moby/cmd/dockerd@$engine $moby/cmd/docker-proxy@$engine
GOFLAGS='-mod=mod -buildvcs=false' CGO_ENABLED=0 nice go build -trimpath -tags 'netgo osusergo' \
  -ldflags "-s -w -X $moby/dockerversion.Version=$version -X $moby/dockerversion.GitCommit=$engine" \
  -o "$bin/" $moby/cmd/dockerd $moby/cmd/docker-proxy
GOFLAGS=-buildvcs=false GOBIN=$bin CGO_ENABLED=1 nice go install -trimpath -tags seccomp -ldflags "-s -w -X main.version=$runc" github.com/opencontainers/runc@v$runc
for tool in "$cache"/28/bin/*; do
  [ -e "$bin/${tool##*/}" ] || ln -s "$tool" "$bin/"
done
echo "$stamp" >"$cache/29/.ready"
