#!/usr/bin/env bash
# EMPO2 on ScienceWorld with Qwen2.5-7B-Instruct (arXiv:2602.23008), TRL. One task a run: TASK=power-component.
# From the paper and its released configuration: model, 16 tasks of 8 episodes, episodes of at most 30 turns, actions of at
# most 32 tokens, the first 5 variations 64 times over, 10 tips, memories of 1000 entries, p 0.25, q 2/3, clip 0.20/0.30, dual
# clip 10, no KL, learning rate 1e-6, temperature 1.0; actions snapped to the closest admissible one.
# Not in the paper, chosen here: TRL instead of verl, one row per turn with the last 4 turns instead of a growing dialogue,
# delta e^-5 and a novelty weight of 1 (no value printed), hashed words instead of MiniLM with the similarity raised from 0.5
# to 0.9 for them, 200 generations of 8 optimiser steps. A 7B model needs DeepSpeed's ZeRO stage 2 in the accelerate
# config, or --lora-rank.
# The paper used 8 A100 of 40 GB. Generation with vLLM needs TRL's extra: pip install 'trl[vllm]'.
set -eu
accelerate launch --num_processes "${GPUS:-8}" -m posttrain train empo2 \
  --model Qwen/Qwen2.5-7B-Instruct \
  --with-memory 0.25 --off-policy 0.6666667 --old tips --floor 0.006737947 --novelty 1.0 \
  --tips 10 --similarity 0.9 --capacity 1000 --write policy --tip-tokens 512 \
  --form window --window 4 --turns 30 --turn-tokens 32 --invalid snap --fine 0.0 \
  --clip-low 0.2 --clip-high 0.3 --dual-clip 10.0 --kl-beta 0.0 \
  --task scienceworld --world.name "${TASK:?a ScienceWorld task, such as power-component}" --world.games 5 --world.repeat 64 --world.no-list-actions \
  --prompts 16 --group-size 8 --slices 8 --micro-batch 1 --inner-steps 1 \
  --steps 1600 --learning-rate 1e-6 --schedule constant --temperature 1.0 --max-completion 32 \
  --save-every 160 --seed 0 --vllm --trl vllm_importance_sampling_correction False \
  --output-dir "runs/empo2-$TASK-qwen2.5-7b" \
  "$@"
