#!/bin/sh
# Prints the namespace and fresh Secrets for the overlays dev and kind. Run it once: another run makes other
# passwords, which processes take over only when they start anew.
#
#   sh k8s/secrets.sh TENANTS_FILE | kubectl apply -f -
set -eu
tenants=${1:?usage: sh k8s/secrets.sh TENANTS_FILE | kubectl apply -f -}
random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }
secret() { # name, key, value
	printf -- '---\napiVersion: v1\nkind: Secret\ntype: Opaque\nmetadata:\n  name: %s\n  namespace: sluice\n' "$1"
	printf 'data:\n  %s: %s\n' "$2" "$(printf %s "$3" | base64 | tr -d '\n')"
}

text=$(cat "$tenants")
password=$(random)
cat "$(dirname "$0")/base/namespace.yaml"
secret sluice-tenants tenants.toml "$text"
secret sluice-jwt secret "$(random)"
secret clickhouse-password password "$password"
# The trial server has one user; the overlay gke has one for each of the three.
for part in gateway worker setup; do
	secret "sluice-warehouse-$part" url "http://sluice:$password@clickhouse:8123/default"
done
