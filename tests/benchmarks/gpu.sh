#!/usr/bin/env bash
# What a GPU does, the most wanted figures first: does it run at all, a random-weight 7B in 16 bits beside the
# documentation's loop, batches, 4 and 8 bits, the command, where the time goes. One JSON object a line; each part
# has a limit of its own, and the next begins if one fails. Ends within nine minutes on a large GPU.
#   bash tests/benchmarks/gpu.sh [PART ...]
# FACTS='-k server' chooses among the facts, OPTIONS='--tokens 64' shortens the parts.
# DEVICE=cpu TINY=--tiny tries it all on a processor with a small checkpoint.
set -u
device=${DEVICE:-cuda} tiny=${TINY:-} FACTS=${FACTS:-}
parts=${*:-facts single batch bits command profile}
room=/dev/shm
[ "$(df --output=avail -k $room 2>/dev/null | tail -n 1)" -gt 25000000 ] || room=${TMPDIR:-/tmp}
folder=$room/vip-llava-7b-random/checkpoint
mkdir -p "${folder%/*}"
trap 'rm -rf "${folder%/*}"' EXIT
export OMP_WAIT_POLICY=PASSIVE HF_HUB_OFFLINE=1 PYTHONWARNINGS=ignore
options=${OPTIONS:-${tiny:+--tokens 8 --batch 3 --pictures 6}}

run() { # SECONDS NAME COMMAND...
    local limit=$1 name=$2 began=$SECONDS
    shift 2
    timeout --kill-after=5 "$limit" "$@"
    echo "{\"part\": \"$name\", \"code\": $?, \"seconds\": $((SECONDS - began))}"
}
part() { run "$1" "$2" python3 -m tests.benchmarks.gpu "$2" "$folder" --device "$device" $options; }

nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader 2>/dev/null
# What the facts find out takes no time that anyone measures, so the checkpoint is made beside them.
run 90 make python3 -m tests.benchmarks.gpu make "$folder" --device "$device" $tiny &
making=$!
for name in $parts; do
    [ "$name" = facts ] || wait $making
    case $name in
        facts) VIPCLI_GPU=$device run 180 facts \
            python3 -m pytest -m gpu tests/test_gpu.py -q -W ignore --tb=short -p no:cacheprovider $FACTS ;;
        single) part 150 single ;;
        batch) part 60 batch ;;
        bits) part 100 bits ;;
        command) part 90 command ;;
        profile) part 120 profile ;;
    esac
done
