#!/usr/bin/env bash
# Footage to training samples on a Slurm cluster: Ray lives for the time of one job.
#
#   sbatch --nodes=8 --cpus-per-task=64 recipes/scripts/curate-slurm.sh SOURCE [FOLDER [OPTIONS...]]
#   RECIPE=paper RAY_GPUS=0.25 sbatch --gpus-per-node=4 recipes/scripts/curate-slurm.sh footage data
#
# SOURCE is a folder of videos or a manifest; FOLDER (default: data) gets curated/ and processed/. RECIPE and
# PREPROCESS_RECIPE as in curate-laptop.sh; RAY_GPUS is the share of a GPU that a worker takes (default: 1);
# RAY_PORT the head's port (default: 6379). OPTIONS go to both commands, such as `--set batch_seconds=30`.
# Options of sbatch win over the lines below.
#
# Expects: SOURCE, FOLDER, the weights (MEGACTOR_CACHE) and `megactor` with its extra `ray` in the PATH, all
# at the same paths on every node; nodes that are not shared with other jobs, whose ports Ray would meet.
# Before the time is up the job stops in good order and queues itself again; so does Slurm where the first
# node fails. The loss of any other node costs what it had in hand.
#SBATCH --job-name=megactor-curate
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --mem=0
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --no-kill
#SBATCH --open-mode=append
set -euo pipefail

NODES_WAIT_SECONDS=300
OBJECT_STORE_BYTES=1000000000 # rows are paths and numbers; the rest of the memory is for workers

source=${1:?give a folder of videos or a manifest}
folder=${2:-data}
nodes=$SLURM_JOB_NUM_NODES
address=$(hostname):${RAY_PORT:-6379}
mkdir -p "$folder"

# One secret for the nodes of this job, in a file that only its owner reads.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH
RAY_AUTH_TOKEN_PATH=$(realpath "$folder")/.ray-token-$SLURM_JOB_ID
(umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$RAY_AUTH_TOKEN_PATH")
export OMP_NUM_THREADS=1 RAY_USAGE_STATS_ENABLED=0

driver=
steps=()
leave() {
  kill "${steps[@]}" ${driver:+"$driver"} 2>/dev/null || true
  wait || true
  rm -f "$RAY_AUTH_TOKEN_PATH"
}
go_on_later() {
  echo "The time is nearly up: the job queues itself again and goes on where it is."
  if [ -n "$driver" ]; then
    kill -TERM "$driver" 2>/dev/null || true
    wait "$driver" || true
  fi
  scontrol requeue "$SLURM_JOB_ID"
  exit 0
}
trap leave EXIT
trap go_on_later USR1

# Ray on so many nodes, as one step of the job: on_nodes COUNT CORES OPTIONS...
on_nodes() {
  srun --nodes="$1" --ntasks="$1" --ntasks-per-node=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" \
    --no-kill --wait=0 --kill-on-bad-exit=0 "${@:3}" --block --num-cpus="$2" \
    --num-gpus="${SLURM_GPUS_ON_NODE:-0}" --object-store-memory="$OBJECT_STORE_BYTES" --disable-usage-stats &
  steps+=("$!")
}
alive_nodes() {
  python -c 'import sys, ray; ray.init(sys.argv[1]); print(sum(node["Alive"] for node in ray.nodes()))' \
    "$address" 2>/dev/null || echo 0
}
# In the background, so that the signal is heard meanwhile.
run() {
  "$@" &
  driver=$!
  wait "$driver"
  driver=
}

# The command itself keeps a core of the first node busy.
on_nodes 1 "$((SLURM_CPUS_PER_TASK > 1 ? SLURM_CPUS_PER_TASK - 1 : 1))" --nodelist="$SLURMD_NODENAME" \
  ray start --head --port="${RAY_PORT:-6379}" --include-dashboard=false
if [ "$nodes" -gt 1 ]; then
  on_nodes "$((nodes - 1))" "$SLURM_CPUS_PER_TASK" --exclude="$SLURMD_NODENAME" ray start --address="$address"
fi
alive=0
while [ "$alive" -lt "$nodes" ] && [ "$SECONDS" -lt "$NODES_WAIT_SECONDS" ]; do
  sleep 5
  alive=$(alive_nodes)
done
if [ "$alive" -eq 0 ]; then
  echo "Ray did not start within $NODES_WAIT_SECONDS s; what it says stands above." >&2
  exit 1
fi
echo "Ray runs on $alive of $nodes nodes."

engine=(--engine ray --ray-address "$address" --set "ray_gpus=${RAY_GPUS:-1}" "${@:3}")
run megactor curate "$source" --output "$folder/curated" ${RECIPE:+--recipe "$RECIPE"} "${engine[@]}"
run megactor preprocess "$folder/curated" --output "$folder/processed" \
  ${PREPROCESS_RECIPE:+--recipe "$PREPROCESS_RECIPE"} "${engine[@]}"
echo "The samples are in $folder/processed."
