#!/usr/bin/env bash
# Trains on all GPUs of this machine, which one process drives:
#
#   scripts/gpus.sh [further flags of main.py]
#
# CUDA_VISIBLE_DEVICES=0,1 chooses some of them. --config.mesh="(2,4)" splits
# the state over groups of four.
set -euo pipefail

# Edit.
CONFIG=configs/voc_1464.py
WORKDIR=runs/voc_1464
DATA_DIR=data

python main.py --config="$CONFIG" --workdir="$WORKDIR" \
  --config.data.data_dir="$DATA_DIR" "$@"
