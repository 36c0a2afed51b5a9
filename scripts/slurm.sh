#!/usr/bin/env bash
# Trains on the GPUs of several nodes of a Slurm cluster:
#
#   sbatch scripts/slurm.sh [further flags of main.py]
#
# One task drives one GPU; the tasks find each other. Submitted again, the run
# goes on. Repository, data and workdir lie on a disk that all nodes share.
#
# Edit: nodes, GPUs of a node (twice), CPU cores and time.
#SBATCH --nodes=2
#SBATCH --gres=gpu:8
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=12
#SBATCH --time=24:00:00
# Five minutes before the end: the run saves and ends.
#SBATCH --signal=TERM@300
#SBATCH --job-name=u2pl
#SBATCH --open-mode=append
set -euo pipefail

# Edit.
CONFIG=configs/voc_1464.py
WORKDIR=runs/voc_1464
DATA_DIR=data

# --kill-on-bad-exit: a task that fails ends all others at once.
srun --kill-on-bad-exit=1 python main.py --config="$CONFIG" \
  --workdir="$WORKDIR" --config.data.data_dir="$DATA_DIR" "$@"
