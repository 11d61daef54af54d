#!/bin/sh
# A self-signed certificate for the webhook, for clusters without cert-manager.
#   sh bootstrap.sh DIR           write ca.crt, tls.crt and tls.key to DIR
#   sh bootstrap.sh DIR --apply   also store them in the cluster and tell them to the webhook configurations
set -eu

if [ $# -lt 1 ] || [ $# -gt 2 ] || [ "${2:---apply}" != "--apply" ]; then
    echo "usage: sh bootstrap.sh DIR [--apply]" >&2
    exit 2
fi
dir=$1
host=kaitoc-webhook.kaitoc.svc
days=365
umask 077
mkdir -p "$dir"

# openssl tells of its progress and of its errors on one stream: keep it back until there is an error.
quietly() {
    said=$("$@" 2>&1) || {
        echo "bootstrap.sh: $1 failed: $said" >&2
        exit 1
    }
}

quietly openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days "$days" \
    -subj "/CN=kaitoc webhook CA" -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign" \
    -keyout "$dir/ca.key" -out "$dir/ca.crt"
quietly openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$host" \
    -keyout "$dir/tls.key" -out "$dir/tls.csr"
printf 'subjectAltName=DNS:%s,DNS:%s.cluster.local\nextendedKeyUsage=serverAuth\n' "$host" "$host" >"$dir/tls.ext"
quietly openssl x509 -req -in "$dir/tls.csr" -CA "$dir/ca.crt" -CAkey "$dir/ca.key" -CAcreateserial -days "$days" \
    -extfile "$dir/tls.ext" -out "$dir/tls.crt"
# Nobody signs with this authority again, so its key need not exist.
rm -f "$dir/ca.key" "$dir/ca.srl" "$dir/tls.csr" "$dir/tls.ext"

[ $# -eq 2 ] || exit 0
# The pods serve the earlier certificate until the kubelet has handed them the new one, about a minute: its authority
# stays trusted beside the new one, older ones do not.
for kind in validatingwebhookconfiguration mutatingwebhookconfiguration; do
    earlier=$(kubectl get "$kind" kaitoc --output 'jsonpath={.webhooks[0].clientConfig.caBundle}' 2>/dev/null) || continue
    bundle=$({
        cat "$dir/ca.crt"
        printf %s "$earlier" | openssl base64 -d -A | sed '/-----END CERTIFICATE-----/q'
    } | base64 | tr -d '\n')
    # One operation for each webhook in validating.yaml and mutating.yaml.
    hooks="0 1"
    [ "$kind" = mutatingwebhookconfiguration ] || hooks="0 1 2"
    operations=
    for hook in $hooks; do
        path="/webhooks/$hook/clientConfig/caBundle"
        operations="$operations${operations:+,}{\"op\": \"add\", \"path\": \"$path\", \"value\": \"$bundle\"}"
    done
    kubectl patch "$kind" kaitoc --type json --patch "[$operations]"
done
kubectl create secret tls kaitoc-webhook-tls --namespace kaitoc --cert "$dir/tls.crt" --key "$dir/tls.key" \
    --dry-run=client --output yaml | kubectl apply --filename -
