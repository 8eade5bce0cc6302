#!/usr/bin/env bash
# Ask each question of marks.tsv about its picture and its mark.
#
#   ask-marks.sh [what vipcli ask takes: --dry-run, --model …]
#
# Which row it is goes to standard error, so that standard output holds the answers alone.
set -euo pipefail

folder=$(dirname -- "${BASH_SOURCE[0]}")
{
    read -r _ # the names of the columns
    while IFS=$'\t' read -r picture option value question; do
        # Mask images lie here too, wherever this is called from.
        [[ -f $folder/${value%%:*} ]] && value=$folder/$value
        echo "$picture $option $value" >&2
        vipcli ask "$folder/$picture" "$question" "$option" "$value" "$@" </dev/null
    done
} <"$folder/marks.tsv"
