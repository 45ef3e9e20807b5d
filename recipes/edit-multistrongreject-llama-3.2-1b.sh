#!/usr/bin/env bash
# Sparse weight editing of Llama-3.2-1B-Instruct in seven languages (arXiv:2602.22554).
# From the paper: units of gate and up by the union of both rules (z above 2, Cohen's d above 1), rank 32. Its anchors are harmful questions
# of HarmfulQA, CatHarmfulQA and LLM-LAT and harmless ones of NaturalReasoning, translated by Hunyuan-MT-7B into zh, vi, ja, th, id,
# bn and he; its attacks are StrongREJECT's 313, translated alike, judged by Qwen3Guard-Gen-8B; utility is MGSM and M-MMLU.
# Not in the paper, chosen here: layer (the best on held-out anchors), token, gamma, lambda, how many anchors, and that English
# harmful prompts are held still. GUARD_URL is an OpenAI-compatible server of the guard, such as vLLM's.
set -eu
posttrain edit safety \
  --model meta-llama/Llama-3.2-1B-Instruct --anchors "${ANCHORS:?id, language, kind and text by line}" \
  --languages zh vi ja th ind bn he --english en --layers auto --parts gate up --position last \
  --units.rule union --units.tau-mag 2.0 --units.tau-stat 1.0 \
  --gammas 0.1 0.3 1.0 3.0 10.0 --ridge 0.01 --ranks 32 --protect-english \
  --held-out 0.25 --leakage 0.3 --keep-rise 0.5 --keep-probe 0.9 --seed 0 --as model --out runs/edit-llama-3.2-1b \
  "$@"
for model in meta-llama/Llama-3.2-1B-Instruct runs/edit-llama-3.2-1b; do
  posttrain edit measure --model "$model" --prompts "${ATTACKS:?the same, harmful prompts alone}" \
    --guard openai:Qwen/Qwen3Guard-Gen-8B --guard-url "${GUARD_URL:-http://127.0.0.1:8000/v1}" --english en --max-tokens 512 \
    ${MGSM:+--mgsm $MGSM}
done
