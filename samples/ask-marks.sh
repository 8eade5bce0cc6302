#!/usr/bin/env bash
# Ask each question in marks.tsv about its picture and mark.
#
#   ask-marks.sh [options of vipcli ask: --dry-run, --model …]
#
# The picture and mark of each row are printed to standard error, so that standard output holds only answers.
set -euo pipefail

folder=$(dirname -- "${BASH_SOURCE[0]}")
{
    read -r _ # skip the header
    while IFS=$'\t' read -r picture option value question; do
        # Mask images are beside this script, whatever the current folder is.
        [[ -f $folder/${value%%:*} ]] && value=$folder/$value
        echo "$picture $option $value" >&2
        vipcli ask "$folder/$picture" "$question" "$option" "$value" "$@" </dev/null
    done
} <"$folder/marks.tsv"
