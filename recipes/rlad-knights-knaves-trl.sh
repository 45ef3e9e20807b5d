#!/usr/bin/env bash
# RLAD on Knights & Knaves, Qwen3-0.6B from Qwen3-8B (arXiv:2602.22495, logic experiments), TRL.
# From the paper: models, alpha 0.5, clip 0.20/0.28, group size 8, learning rate 1e-6, 256 completions a batch in
# micro-batches of 32, responses of at most 8192 tokens (or 2048), Logic-RL's data (3 to 7 people) and reward.
# Not in the paper, chosen here: the number of steps, one optimiser step per batch, no KL to a reference, temperature 1.
# The paper used 8 H200. Generation with vLLM needs TRL's extra: pip install 'trl[vllm]'.
set -eu
accelerate launch --num_processes "${GPUS:-8}" -m posttrain train rlad \
  --model Qwen/Qwen3-0.6B \
  --teacher Qwen/Qwen3-8B \
  --alpha 0.5 --clip-low 0.2 --clip-high 0.28 --clamp 1.0 --clamp-gradient through --mixture geometric --no-mask-end \
  --grpo.aggregation sequence --grpo.spread population --grpo.kl-beta 0.0 --grpo.dual-clip 0.0 \
  --task knights-knaves --people 3 4 5 6 7 --puzzles 1000 --reward logic-rl \
  --prompts 32 --group-size 8 --micro-batch 32 --inner-steps 1 \
  --steps 300 --learning-rate 1e-6 --schedule constant --temperature 1.0 --max-completion 8192 \
  --save-every 20 --seed 0 --vllm \
  --output-dir runs/rlad-qwen3-0.6b \
  "$@"
