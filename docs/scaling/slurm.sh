#!/bin/bash
# Pretrain on two nodes of eight GPUs: sbatch docs/scaling/slurm.sh
# The folder of this script's run, `runs/`, has to be on a disk that all nodes share.
#SBATCH --job-name=picochat
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=08:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

run=${RUN:-base}
data=${DATA:?name the training files: DATA=fineweb.parquet sbatch docs/scaling/slurm.sh}
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

# A run that is there already is gone on with, so that a requeued job takes up where it was.
if [ -f "runs/$run/run.json" ]; then
  args=(--run "$run" --resume)
else
  args=(--run "$run" --data "$data" --depth 20 --batch-size 256 --seq-len 2048 --steps 20000)
fi

# Five minutes before the end of the time, SLURM sends SIGTERM to the ranks: they save and stop.
srun torchrun --nnodes "$SLURM_NNODES" --nproc-per-node 8 \
  --rdzv-backend c10d --rdzv-id "$SLURM_JOB_ID" --rdzv-endpoint "$head:29500" \
  -m picochat -- pretrain "${args[@]}"
