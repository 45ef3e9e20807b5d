#!/usr/bin/env bash
# Second-order rollout on DAPO-MATH, Qwen2.5-7B (arXiv:2602.22765, Table 3), TRL.
# From the paper: model, 512 questions a generation in optimiser steps of 128, 5 answers and 5 critiques each, learning rate
# 1e-6, KL 0.001, clip 0.2, at most 4096 tokens, 10 passes over 16k problems = 312 generations; the critique's reward 0.7,
# filtered pairs. The paper first tunes the model on 1339 critiques of GPT-5: give the tuned model as MODEL.
# Not in the paper, chosen here: as many pairs as questions, the cache's size and age, groups by pair, TRL instead of verl.
# The paper does not say how many GPUs it used. Extra rows need TRL's correction of vLLM's log-probabilities off.
set -eu
accelerate launch --num_processes "${GPUS:-8}" -m posttrain train second_order \
  --model "${MODEL:-Qwen/Qwen2.5-7B}" \
  --critiques 5 --pairs 512 --reward-right 0.7 --reward-wrong 0.7 --selection filter --denoise 0 \
  --cache-size 2048 --max-age 16 --group pair --kl-beta 0.001 \
  --grpo.clip-low 0.2 --grpo.clip-high 0.2 --grpo.aggregation sequence --grpo.spread population \
  --dataset "${DATA:?a JSON lines file with prompt, answer and id}" --verifier math \
  --prompts 512 --group-size 5 --slices 4 --micro-batch 4 --inner-steps 1 \
  --steps 1248 --learning-rate 1e-6 --schedule constant --temperature 1.0 --max-completion 4096 \
  --save-every 40 --seed 0 --vllm --trl vllm_importance_sampling_correction False \
  --output-dir runs/second-order-qwen2.5-7b \
  "$@"
