#!/usr/bin/env bash
# CEEH-EA on DeepSeek-R1-Distill-Qwen-7B (arXiv:2602.22642), TRL. For CEEH-ME: --mode ME.
# From the paper and its launch script: model, LoRA of rank 32 and scale 32, group size 12, 512 prompts a generation in
# optimiser steps of 32 prompts, learning rate 3e-5, temperature 0.6, responses of at most 20480 tokens, clip 0.20/0.28, KL
# 0.001, beta 0.1, 10 passes over 5000 problems (2500 of DeepMath-103K, 2500 of DAPO) = 100 generations.
# Not in the paper, chosen here: the data file (JSON lines with prompt, answer, id), TRL instead of verl 0.5.
# The paper used 16 A100. Generation with vLLM needs TRL's extra: pip install 'trl[vllm]'.
set -eu
accelerate launch --num_processes "${GPUS:-16}" -m posttrain train ceeh \
  --model deepseek-ai/DeepSeek-R1-Distill-Qwen-7B \
  --mode EA --beta 0.1 --floor 0.9 --rise 0.2 --fall 0.05 --alpha 0.4 --kappa 2.0 \
  --difficulty history --gate above --reference minimum \
  --clip-low 0.2 --clip-high 0.28 --aggregation token --kl-beta 0.001 \
  --dataset "${DATA:?a JSON lines file with prompt, answer and id}" --verifier math \
  --prompts 512 --group-size 12 --slices 16 --micro-batch 2 --inner-steps 1 \
  --steps 1600 --learning-rate 3e-5 --schedule constant --temperature 0.6 --max-completion 20480 \
  --lora-rank 32 --lora-alpha 32 --save-every 160 --seed 0 --vllm \
  --output-dir runs/ceeh-r1-distill-qwen-7b \
  "$@"
