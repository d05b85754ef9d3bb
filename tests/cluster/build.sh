#!/bin/bash
# build.sh CACHE: builds the Kubernetes of the suite and the renderers that the suite compares with, by Go, once.
#
#   CACHE/k8s-HASH/k8s      etcd, API server, controllers, scheduler, kubelet, kube-proxy and kubectl in one program (10 minutes of CPU)
#   CACHE/k8s-HASH/pause    the process that holds a pod's namespaces
#   CACHE/go-HASH/          kustomize, helm
#
# HASH covers everything that goes into the build, so checkouts of different ages have their own. Prints the two folders.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=$1
kustomize=v5.8.2 helm=v3.22.0
hash_of() { sha256sum | cut -c1-12; }
k8s=$cache/k8s-$(cat "$here"/k8s/{go.mod,go.sum,main.go,pause/main.go} | hash_of)
tools=$cache/go-$(echo "$kustomize $helm" | hash_of)
if [ ! -x "$k8s/k8s" ] || [ ! -x "$tools/helm" ]; then
  mkdir -p "$k8s" "$tools"
  exec 8>"$cache/.build.lock"; flock 8
fi
if [ ! -x "$k8s/k8s" ]; then
  echo "setup: building Kubernetes (about 10 minutes of CPU, once)" >&2
  version=$(awk '$1=="k8s.io/kubernetes"{print $2; exit}' "$here/k8s/go.mod")
  ld="-s -w"
  for p in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    ld="$ld -X $p.gitVersion=$version -X $p.gitMajor=1 -X $p.gitMinor=$(echo "$version" | cut -d. -f2) -X $p.gitTreeState=clean"
    ld="$ld -X $p.gitCommit=0000000000000000000000000000000000000000 -X $p.buildDate=2026-01-01T00:00:00Z"
  done
  (
    cd "$here/k8s"
    export CGO_ENABLED=0 GOFLAGS="${GOFLAGS:-} -trimpath -mod=readonly"
    go build -ldflags "$ld" -o "$k8s/pause" ./pause
    nice -n 5 go build -ldflags "$ld" -o "$k8s/k8s.new" .
  ) >&2
  ln -sf k8s "$k8s/kubectl"
  mv "$k8s/k8s.new" "$k8s/k8s"
fi
if [ ! -x "$tools/helm" ]; then
  echo "setup: building kustomize and helm" >&2
  install() { # install NAME MODULE@VERSION
    local t; t=$(mktemp -d)
    CGO_ENABLED=0 GOBIN=$t nice -n 5 go install -trimpath -ldflags '-s -w' "$2" >&2
    mv "$t/$1" "$tools/$1"; rmdir "$t"
  }
  install kustomize "sigs.k8s.io/kustomize/kustomize/v5@$kustomize"
  install helm "helm.sh/helm/v3/cmd/helm@$helm"
fi
echo "$k8s"
echo "$tools"
