#!/usr/bin/env bash
# The embedded checkpoint `sigma-tiny` from nothing: corpus, autoencoder, three stages.
#
#   recipes/scripts/train-default.sh [FOLDER]
#
# FOLDER (default: sigma-tiny) becomes a workspace of its own. Interrupted at any point, the same command goes on.
# Seeds are the recipes' (0), one thread a process: the same machine gives the same weights.
set -euo pipefail

mkdir -p "${1:-sigma-tiny}"
cd "${1:-sigma-tiny}"
export OMP_NUM_THREADS=1

# The autoencoder learns from the first 200 clips, so that the rest can be stored as its latents.
if [ ! -d runs/autoencoder/final ]; then
  megactor synth --recipe tiny --clips 200
  megactor preprocess data/raw/synthetic --recipe tiny --output data/autoencoder
  megactor train --recipe tiny-autoencoder --data data/autoencoder --resume
fi

megactor synth --recipe tiny
megactor preprocess data/raw/synthetic --recipe tiny --latents --set autoencoder=runs/autoencoder/final

for stage in 1 2 3; do
  megactor train --stage "$stage" --recipe "tiny-stage$stage" --resume
done
echo "The checkpoint is in $PWD/runs/stage3/final."
