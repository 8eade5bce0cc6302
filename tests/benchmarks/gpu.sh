#!/usr/bin/env bash
# What a GPU does with the 7B's true shape and random weights, in one run: 16 bits beside the documentation's
# loop, then 4 and 8 bits, then a batch. Prints one JSON object a line; ends within nine minutes on a large GPU.
set -euo pipefail

measure() { python -m vipcli bench vip-llava-7b --random-weights --device cuda --json --quiet "$@"; }

measure --baseline --tokens 128
measure --quantize 4bit --tokens 64
measure --quantize 8bit --tokens 32 --repeat 1
measure --baseline --batch 32 --tokens 8
