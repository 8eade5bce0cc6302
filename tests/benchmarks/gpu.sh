#!/usr/bin/env bash
# What a GPU does, the most wanted figures first: does it run at all, a random-weight 7B in 16 bits beside the
# documentation's loop, batches, 4 and 8 bits, the command, where the time goes. One JSON object a line; each part
# has a limit of its own, and the next begins if one fails. Ends within nine minutes on a large GPU.
#   bash tests/benchmarks/gpu.sh [PART ...]
# DEVICE=cpu TINY=--tiny tries it all on a processor with a small checkpoint.
set -u
device=${DEVICE:-cuda} tiny=${TINY:-}
parts=${*:-facts single batch bits command profile}
room=/dev/shm
[ "$(df --output=avail -k $room 2>/dev/null | tail -n 1)" -gt 25000000 ] || room=${TMPDIR:-/tmp}
folder=$room/vip-llava-7b-random/checkpoint
mkdir -p "${folder%/*}"
trap 'rm -rf "${folder%/*}"' EXIT
export OMP_WAIT_POLICY=PASSIVE HF_HUB_OFFLINE=1 PYTHONWARNINGS=ignore
small=${tiny:+--tokens 8 --batch 3 --pictures 6}

run() { # SECONDS NAME COMMAND...
    local limit=$1 name=$2 began=$SECONDS
    shift 2
    timeout --kill-after=5 "$limit" "$@"
    echo "{\"part\": \"$name\", \"code\": $?, \"seconds\": $((SECONDS - began))}"
}
part() { run "$1" "$2" python3 -m tests.benchmarks.gpu "$2" "$folder" --device "$device" $small; }

nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader 2>/dev/null
run 60 make python3 -m tests.benchmarks.gpu make "$folder" --device "$device" $tiny
for name in $parts; do
    case $name in
        facts) VIPCLI_GPU=$device run 180 facts \
            python3 -m pytest -m gpu tests/test_gpu.py -q -W ignore --tb=short -p no:cacheprovider --durations=5 ;;
        single) part 150 single ;;
        batch) part 60 batch ;;
        bits) part 100 bits ;;
        command) part 90 command ;;
        profile) part 120 profile ;;
    esac
done
