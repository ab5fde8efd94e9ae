#!/usr/bin/env bash
# Train the lesion study on a Slurm cluster: two initialisations x five training-set sizes x four folds, which
# are 40 runs in one array. After any interruption, the same command goes on. Further arguments are overrides:
#
#   launchers/lesion_study.sh hydra.launcher.partition=gpu hydra.launcher.account=abc123
#   launchers/lesion_study.sh seed=0,1,2 model.backbone=resnet18,resnet50 model.pretrained=hub
#   launchers/lesion_study.sh data=folder data.root=/data/lenses data.name=lenses
#
# Adapt these once, in the lines below or in the start-up file of your shell:
#   MERGEREXP_ROOT        a folder that login and compute nodes share, for data sets, features and runs
#   MLFLOW_TRACKING_URI   the address of the server that launchers/mlflow_server.sh starts. Without it, each run
#                         is recorded in its folder alone until python -m mergerexp.status --sync names a server
set -euo pipefail
: "${MERGEREXP_ROOT:=$PWD}"
export MERGEREXP_ROOT

site=(
    # hydra.launcher.partition=gpu      # sinfo -s                     lists the partitions
    # hydra.launcher.account=abc123     # sacctmgr show assoc user=$USER   the accounts
    # hydra.launcher.gpu_type=a100      # sinfo -o '%P %G'             the GPU types
    # "hydra.launcher.setup=[module load cuda/12.4]"
    hydra.launcher.cpus=8
    hydra.launcher.mem=32GB
    hydra.launcher.timeout=240
)
[[ -n ${MLFLOW_TRACKING_URI:-} ]] || site+=(tracking=none)

exec python -m mergerexp.train -m hydra/launcher=slurm "${site[@]}" \
    init=imagenet,random subset=0.1,0.17,0.3,0.5,1.0 fold=0,1,2,3 "$@"
