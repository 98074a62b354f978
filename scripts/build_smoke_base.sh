#!/usr/bin/env bash
# Rebuild sample_data/smoke_base, the base model of the smoke run, from its seeded corpus. About 20 minutes on 2 cores.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${VENV:-.venv}/bin
build=workspace/smoke_base # only this script writes here
rm -rf "$build"

"$bin/python" -m sample_data base "$build"
AXOLOTL_DO_NOT_TRACK=1 HF_HUB_OFFLINE=1 "$bin/accelerate" launch \
    --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no --num_cpu_threads_per_process 2 \
    -m axolotl.cli.train axolotl_configs/smoke_base.yaml

mkdir -p sample_data/smoke_base
for name in config.json generation_config.json tokenizer.json tokenizer_config.json model.safetensors; do
    cp "$build/trained/$name" sample_data/smoke_base/
done
(cd sample_data/smoke_base && sha256sum -- *.json *.safetensors)
