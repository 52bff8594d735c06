#!/usr/bin/env bash
# Footage to training samples on a Ray cluster on Kubernetes.
#
#   recipes/scripts/curate-kubernetes.sh SOURCE [FOLDER [OPTIONS...]]
#   RECIPE=paper RAY_GPUS=0.25 recipes/scripts/curate-kubernetes.sh /data/footage /data
#
# SOURCE and FOLDER (default: /data) are paths on the shared volume, as the pods see them; FOLDER gets
# curated/ and processed/. RECIPE and PREPROCESS_RECIPE as in curate-laptop.sh; RAY_GPUS is the share of a GPU
# that a worker takes (default: 1); MANIFEST another file than kubernetes/ray-cluster.yaml; OPTIONS go
# to both commands. Expects kubectl with a namespace, the KubeRay operator there, an image as ray-cluster.yaml
# describes, footage and weights on the volume. The commands run as Ray jobs in the head's pod: they go on
# where this script loses its connection, and the same command goes on with what a lost head left. `kubectl
# delete raycluster megactor` ends the cluster; the volume stays.
set -euo pipefail

source=${1:?give a folder of videos or a manifest on the shared volume}
folder=${2:-/data}
manifest=${MANIFEST:-$(dirname "$0")/kubernetes/ray-cluster.yaml}
engine=(--engine ray --ray-address auto --set "ray_gpus=${RAY_GPUS:-1}" "${@:3}")

kubectl apply --filename "$manifest"
kubectl wait --for=jsonpath='{.status.state}'=ready raycluster/megactor --timeout=30m
head=$(kubectl get pod --selector=ray.io/cluster=megactor,ray.io/node-type=head --output=name)

submit() {
  kubectl exec "$head" --container=ray-head -- ray job submit --address http://127.0.0.1:8265 -- "$@"
}
submit megactor curate "$source" --output "$folder/curated" ${RECIPE:+--recipe "$RECIPE"} "${engine[@]}"
submit megactor preprocess "$folder/curated" --output "$folder/processed" \
  ${PREPROCESS_RECIPE:+--recipe "$PREPROCESS_RECIPE"} "${engine[@]}"
echo "The samples are in $folder/processed on the volume."
