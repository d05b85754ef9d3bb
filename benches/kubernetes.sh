#!/bin/bash
# Runs with a throw-away cluster (see run.sh): KUBECONFIG and DRIFTLESS (the release binary) are set, kubectl is on the PATH.
# Every row is printed; one that could not be measured says so and does not end the others.
#   benches/kubernetes.sh [APPS]      default: 100
set -uo pipefail
apps=${1:-100}
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cluster=$KUBECONFIG
. "$(dirname "$0")/figures.sh"
export KUBECONFIG=$cluster
kubectl create namespace ours >/dev/null; kubectl create namespace theirs >/dev/null; kubectl create namespace crash >/dev/null
mkdir -p "$work/.config/driftless"
cat >"$work/.config/driftless/config.yaml" <<END
targets:
  ours: { kubernetes: current, namespace: ours }
  crash: { kubernetes: current, namespace: crash }
END

# Four objects an app. The Deployment has no replicas: a hundred apps fit on one node, and it is healthy when it is observed.
dir=$work/many
for i in $(seq "$apps"); do
  mkdir -p "$dir/apps/a$i"
  cat >"$dir/apps/a$i/app.yaml" <<END
apiVersion: v1
kind: ServiceAccount
metadata: { name: a$i }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: a$i }
data: { version: "1", greeting: hello, log: "level=info" }
---
apiVersion: v1
kind: Service
metadata: { name: a$i }
spec: { selector: { app: a$i }, ports: [{ port: 80, targetPort: 8080 }] }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: a$i, labels: { app: a$i } }
spec:
  replicas: 0
  selector: { matchLabels: { app: a$i } }
  template:
    metadata: { labels: { app: a$i } }
    spec:
      serviceAccountName: a$i
      containers:
      - name: web
        image: web:1
        ports: [{ containerPort: 8080 }]
        envFrom: [{ configMapRef: { name: a$i } }]
        readinessProbe: { httpGet: { path: /health, port: 8080 } }
        resources: { requests: { cpu: 10m, memory: 16Mi }, limits: { memory: 64Mi } }
END
done
{ echo "apps:"; for i in $(seq "$apps"); do printf '  a%s: { path: apps/a%s, target: ours, health: { bake: 0s } }\n' "$i" "$i"; done; } >"$dir/driftless.yaml"
repository "$dir" many; cd "$dir" || exit 1

printf 'Kubernetes %s, %s cores, load %s, %s\n\n' "$(kubectl version -o json | sed -n 's/.*"gitVersion": "\(.*\)",/\1/p' | tail -1)" "$(nproc)" \
  "$(cut -d' ' -f1 /proc/loadavg)" "$(driftless --version)"
row measure driftless kubectl ratio
objects=$((apps * 4))
# The API server warms up with the first of the two: each tool starts in an empty namespace, kubectl first.
firstk=$(once kubectl apply --server-side --namespace theirs --recursive --filename apps)
first=$(once driftless apply --yes -q)
both "first apply, $apps apps, $objects objects (ms)" "$first" "$firstk"
noopk=$(median 5 kubectl diff --server-side --namespace theirs --recursive --filename apps)
both "no-op, $apps apps: apply --yes against kubectl diff, median of 5 (ms)" "$(median 5 driftless apply --yes)" "$noopk"
both "  of it the command's own processor time (ms)" "$(cpu 5 "$DRIFTLESS" apply --yes)" "$(cpu 5 kubectl diff --server-side --namespace theirs --recursive --filename apps)"
both "no-op of one app, median of 9 (ms)" "$(median 9 driftless apply a7 --yes)" "$(median 9 kubectl diff --server-side --namespace theirs --filename apps/a7)"

# Every change of a ConfigMap as a watch sees it: TIME NAME VERSION.
kubectl get configmaps --namespace ours --watch --output 'jsonpath={.metadata.name} {.data.version}{"\n"}' |
  while read -r name version; do printf '%s %s %s\n' "$(now)" "$name" "$version"; done >"$work/seen" &
"$DRIFTLESS" serve --repo "$dir" --interval 10m >"$work/serve.log" 2>&1 & pid=$!
# seen BEGIN NAME VERSION: ms from BEGIN until the watch shows it, waited for at most 20 s
seen() {
  local at
  for _ in $(seq 1000); do
    at=$(awk -v begin="$1" -v name="$2" -v version="$3" '$1 > begin && $2 == name && $3 == version { print $1; exit }' "$work/seen")
    [ -n "$at" ] && { ms $((at - $1)); return; }
    sleep 0.02
  done
  echo -
}
sleep 15
for version in $(seq 2 41); do
  app=a$((version % apps + 1))
  sed -i "s/version: \"[0-9]*\"/version: \"$version\"/" "apps/$app/app.yaml"
  git commit -qam "version $version"; begin=$(now)
  seen "$begin" "$app" "$version"
done >"$work/run"
row "serve: commit to applied, 1 of $apps apps, p50 of 40 (ms)" "$(middle <"$work/run")" - -
row "  p99 (ms)" "$(high <"$work/run")" - -
sleep 5
# Drift: from the moment at which the watch shows it to the moment at which it shows the old value. Each app once: one that is
# changed again and again would be taken for contended.
for i in $(seq 50 79); do
  app=a$((i % apps + 1)); good=$(sed -n 's/.*version: "\([0-9]*\)".*/\1/p' "apps/$app/app.yaml")
  begin=$(now)
  kubectl patch configmap "$app" --namespace ours --type merge --patch '{"data":{"version":"drift"}}' >/dev/null
  drifted=$(seen "$begin" "$app" drift); healed=$(seen "$begin" "$app" "$good")
  [ "$healed" = - ] || echo $((healed - drifted))
done >"$work/run"
row "serve: drift seen to repaired, p50 of $(wc -l <"$work/run") (ms)" "$(middle <"$work/run")" - -
row "  p99 (ms)" "$(high <"$work/run")" - -
sleep 20
row "serve, $objects objects, idle: resident memory (MiB)" "$(resident $pid)" - -
row "  of it private (MiB)" "$(private $pid)" - -
row "  processor time in 60 s (ms)" "$(spent $pid 60)" - -
full=$(private $pid)
kill -TERM $pid; wait $pid 2>/dev/null

# A crash loop: one real pod.
dir=$work/crash; mkdir -p "$dir"
cat >"$dir/web.yaml" <<END
apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  replicas: 1
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{ name: web, image: "web:1", readinessProbe: { httpGet: { path: /health, port: 8080 }, periodSeconds: 1 } }]
END
printf 'apps:\n  web: { path: ., target: crash, health: { bake: 0s } }\n' >"$dir/driftless.yaml"
repository "$dir" good; cd "$dir" || exit 1; driftless apply --yes -q >/dev/null 2>&1
sed -i 's/web:1/web:crash/' web.yaml; git commit -qam bad
driftless apply --yes -o json 2>/dev/null >"$work/run.json"
row "crash loop: failed verdict after (ms)" "$(took gate_took 0)" - -
row "  the stable release healthy again after (ms)" "$(took rollback_took 0)" - -
"$DRIFTLESS" serve --repo "$dir" --interval 10m >"$work/serve.log" 2>&1 & pid=$!
sleep 20
row "serve, memory per 1,000 objects, private (MiB)" "$(awk -v full="$full" -v one="$(private $pid)" -v objects=$((objects - 1)) 'BEGIN { printf "%.1f", (full - one) * 1000 / objects }')" - -
kill -TERM $pid; wait $pid 2>/dev/null
printf '\nload at the end: %s\n' "$(cut -d' ' -f1-3 /proc/loadavg)"
