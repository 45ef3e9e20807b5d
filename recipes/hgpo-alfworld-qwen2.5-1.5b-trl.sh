#!/usr/bin/env bash
# HGPO on ALFWorld with Qwen2.5-1.5B-Instruct (arXiv:2602.22817), TRL.
# From the paper and its launch script: model, 16 tasks of 8 episodes, episodes of at most 50 turns, two turns in the prompt
# (--agent.window and --depth; also 4), actions of at most 512 tokens with their reasoning, alpha 1, gamma 0.95, division by
# the deviation, 0.1 taken for an inadmissible action, KL 0.01, clip 0.2, learning rate 1e-6, temperature 1.0, 160
# generations.
# Not in the paper, chosen here: the games' folder, TRL instead of verl-agent, 32 optimiser steps per generation (the paper
# takes one per 256 turns; a generation has up to 6400), a reward of 1 and so a fine of 0.01 where the paper has 10 and 0.1.
# The paper used 2 H100. Generation with vLLM needs TRL's extra: pip install 'trl[vllm]'.
set -eu
accelerate launch --num_processes "${GPUS:-2}" -m posttrain train hgpo \
  --model Qwen/Qwen2.5-1.5B-Instruct \
  --depth 2 --alpha 1.0 --gamma 0.95 --norm std --weight-offset 1 --drop group --prefix absent --kl-beta 0.01 \
  --agent.form window --agent.window 2 --agent.turns 50 --agent.turn-tokens 512 --agent.fine 0.01 \
  --grpo.clip-low 0.2 --grpo.clip-high 0.2 \
  --task alfworld --world.folder "${DATA:?a folder with the games of ALFWorld}" --world.games 10000 \
  --world.reply "Think step by step, then give the action inside <action> </action>." \
  --prompts 16 --group-size 8 --slices 32 --micro-batch 1 --inner-steps 1 \
  --steps 5120 --learning-rate 1e-6 --schedule constant --temperature 1.0 --max-completion 512 \
  --save-every 320 --seed 0 --vllm --trl vllm_importance_sampling_correction False \
  --output-dir runs/hgpo-alfworld-qwen2.5-1.5b \
  "$@"
