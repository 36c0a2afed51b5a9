#!/usr/bin/env bash
# Trains on the GPUs of several machines with Open MPI:
#
#   scripts/open_mpi.sh [further flags of main.py]
#
# One rank drives one GPU; the ranks find each other, with Open MPI 5 through
# mpi4py (pip install mpi4py). Repository, data and workdir lie on a disk that
# all machines share.
set -euo pipefail

# Edit: machines with their GPUs.
HOSTS=node1:8,node2:8
CONFIG=configs/voc_1464.py
WORKDIR=runs/voc_1464
DATA_DIR=data

# --bind-to none: mpirun would leave each rank one core to read images with.
mpirun --host "$HOSTS" --bind-to none \
  python main.py --config="$CONFIG" --workdir="$WORKDIR" \
  --config.data.data_dir="$DATA_DIR" "$@"
