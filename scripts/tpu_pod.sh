#!/usr/bin/env bash
# Trains on all hosts of a Cloud TPU, from any machine with gcloud:
#
#   scripts/tpu_pod.sh [further flags of main.py]
#
# The hosts find each other. Each has the repository in REPOSITORY, with
# pip install "jax[tpu]" -r requirements.txt, and the data in DATA_DIR, a folder
# of its own or a mounted bucket; the workdir is in a bucket.
set -euo pipefail

# Edit.
TPU=u2pl
ZONE=us-west4-a
REPOSITORY=u2pl_jax
CONFIG=configs/voc_1464.py
WORKDIR=gs://BUCKET/runs/voc_1464
DATA_DIR=/mnt/data

flags=(--config="$CONFIG" --workdir="$WORKDIR")
flags+=(--config.data.data_dir="$DATA_DIR" "$@")
gcloud compute tpus tpu-vm ssh "$TPU" --zone="$ZONE" --worker=all \
  --command="cd $REPOSITORY && python3 main.py $(printf '%q ' "${flags[@]}")"
