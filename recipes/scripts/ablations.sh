#!/usr/bin/env bash
# Short runs beside the embedded checkpoint's that differ from it in one thing each, for docs/reproduction.md.
#
#   recipes/scripts/ablations.sh [FOLDER]
#
# FOLDER (default: sigma-tiny) is the workspace of train-default.sh, which must have been through its second
# stage. Interrupted at any point, the same command goes on.
set -euo pipefail

cd "${1:-sigma-tiny}"
export OMP_NUM_THREADS=1

# Figure 1: stage 1 without face dropout and masks, and with face dropout alone; runs/stage1 has both.
whole_face="--set draw.face_dropout.nothing=0 --set draw.face_dropout.eyes=0
            --set draw.face_dropout.mouth=0 --set draw.face_dropout.both=1"
megactor train --recipe tiny-stage1 --output runs/no-dropout-no-mask --resume --set mask_mode=off $whole_face
megactor train --recipe tiny-stage1 --output runs/dropout-no-mask --resume --set mask_mode=off

# The balance of modes: the paper's shares, and one that leans on the picture; the same steps for each.
for mix in "paper 0.1 0.2 0.7" "visual 0.8 0.1 0.1"; do
  read -r name visual audio mixed <<< "$mix"
  megactor train --recipe tiny-stage2 --steps 700 --init runs/stage1/final --output "runs/mix-$name" --resume \
    --set "draw.mix.visual=$visual" --set "draw.mix.audio=$audio" --set "draw.mix.mixed=$mixed"
done
echo "The checkpoints are in $PWD/runs/{no-dropout-no-mask,dropout-no-mask,mix-*}/final."
