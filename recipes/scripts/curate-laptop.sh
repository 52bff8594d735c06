#!/usr/bin/env bash
# Footage to training samples on one machine: what it will cost, the good clips, their samples. No Ray.
#
#   recipes/scripts/curate-laptop.sh SOURCE [FOLDER [OPTIONS...]]
#   RECIPE=paper WORKERS=8 recipes/scripts/curate-laptop.sh footage data
#
# SOURCE is a folder of videos or a manifest. FOLDER (default: data) gets curated/ and processed/. RECIPE and
# PREPROCESS_RECIPE are recipes of `megactor curate` and `megactor preprocess` (default: none), WORKERS is the
# number of worker processes (default: what cores and memory carry), OPTIONS go to both commands. Expects
# `megactor` in the PATH and the recipes' weights. Interrupted at any point, the same command goes on.
set -euo pipefail

source=${1:?give a folder of videos or a manifest}
folder=${2:-data}
export OMP_NUM_THREADS=1

curate() {
  megactor curate "$source" ${RECIPE:+--recipe "$RECIPE"} ${WORKERS:+--workers "$WORKERS"} "$@"
}
# A first run says what is ahead, from a sample; one that goes on has begun already.
if [ ! -e "$folder/curated" ]; then
  curate --dry-run --set forecast.clips=40 "${@:3}"
fi
curate --output "$folder/curated" "${@:3}"
megactor preprocess "$folder/curated" --output "$folder/processed" \
  ${PREPROCESS_RECIPE:+--recipe "$PREPROCESS_RECIPE"} ${WORKERS:+--workers "$WORKERS"} "${@:3}"
echo "The samples are in $folder/processed."
