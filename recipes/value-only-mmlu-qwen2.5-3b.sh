#!/usr/bin/env bash
# Value-only tuning on MMLU Humanities, Qwen2.5-3B-Instruct (arXiv:2602.23197).
# From the paper: LoRA of rank 128, 5 epochs over 1000 questions with rationales of gpt-4.1-mini (those that came out right), the
# few-shot loss with a weight from 1 to 0, examples of the question's own subject; judged on 1000 questions of each field with
# 0 to 7 examples. Both files have prompt, completion and subject; in TEST, other fields are subjects that are not trained.
# Not in the paper, chosen here: alpha, the learning rate (it tries five, unnamed), its schedule, the batch, the examples in the
# few-shot loss. The paper anneals by epoch, here by step, and counts right answers of samples at temperature 0.05, here those that greedy
# decoding gives word for word. Without --few-shot-weight it is plain value-only tuning.
set -eu
posttrain tune value-only \
  --model Qwen/Qwen2.5-3B-Instruct --dataset "${DATA:?rows to train}" --test "${TEST:?other rows}" --task subject \
  --update lora --rank 128 --alpha 256 \
  --few-shot-weight linear --few-shot-initial 1.0 --shots 4 \
  --epochs 5 --learning-rate 1e-4 --schedule cosine --batch 16 --micro-batch 4 --max-length 4096 --weight-decay 0.0 \
  --report-shots 0 1 2 3 4 5 6 7 --save adapter --save-every 100 --seed 0 --out runs/value-only-qwen2.5-3b \
  "$@"
