#!/usr/bin/env bash
# UpSkill on GSM8K, Qwen2.5-7B-Instruct (arXiv:2602.22296), TRL.
# From the released code: 5 strategies, 30 completions of one question a step, alpha_1 5, LoRA of rank 32 and scale 32,
# learning rate 3e-5 with a cosine schedule and warm-up of a tenth, 2000 steps, 1024 tokens of which 256 are the prompt, temperature 0.7, KL
# weight 0.04 (TRL's default then), gradients clipped at 0.1, weight decay 0.1, Adam betas 0.9 and 0.99.
# The code trains with the sequence form; the paper prints the token form (--form token).
# Not in the paper, chosen here: the reward of the task is 1 or 0 (the code: +1 or -1), no 4-bit weights, cap 2 (the code: none).
# One GPU is enough. Generation with vLLM needs TRL's extra: pip install 'trl[vllm]'.
set -eu
accelerate launch --num_processes "${GPUS:-1}" -m posttrain train upskill \
  --model Qwen/Qwen2.5-7B-Instruct \
  --skills 5 --form sequence --weight 5.0 --cap 2.0 --kl-beta 0.04 --group question \
  --grpo.aggregation sequence --grpo.spread population \
  --task gsm8k --dataset "${DATA:?train.jsonl of GSM8K}" \
  --prompts 1 --group-size 30 --micro-batch 6 --inner-steps 1 \
  --steps 2000 --learning-rate 3e-5 --schedule cosine --temperature 0.7 --max-completion 768 \
  --lora-rank 32 --lora-alpha 32 --save-every 100 --seed 0 --vllm \
  --trl warmup_steps 0.1 max_grad_norm 0.1 weight_decay 0.1 adam_beta1 0.9 adam_beta2 0.99 \
  --output-dir runs/upskill-qwen2.5-7b \
  "$@"
