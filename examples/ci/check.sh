#!/usr/bin/env bash
# Health check of one energy head in CI: inspects it, then tries to repair it on a small budget.
#
# Must be set:
#   CHECKPOINT   the energy head
#   BATCH        batch dump that it is measured on
#   TRAIN_BATCH  batch dump of other episodes, that the repair is trained on
# May be set:
#   OUT          folder for results, new or empty          (energydiag-results)
#   STEPS        optimiser steps of the repair             (200)
#   FAIL_ON      never, warning or critical                (critical)
#   LIMIT        samples that the inspection uses at most  (all)
#   MODEL, HEAD, NHEAD, SIGN, TAU, what energydiag's options of these names take, where the checkpoint does not tell
#
# Exit code: 0 fine; 1 findings at or above FAIL_ON, or a repair that was not accepted; 2 wrong input or usage.
set -euo pipefail

complain() {
  printf 'check.sh: %s\n  next: %s\n' "$1" "$2" >&2
}

missing=0
for name in CHECKPOINT BATCH TRAIN_BATCH; do
  if [[ -z "${!name:-}" ]]; then
    complain "$name is not set." "export $name=PATH"
    missing=1
  elif [[ ! -e "${!name}" ]]; then
    complain "$name names no file: ${!name}" "check the path, and that the job has fetched it."
    missing=1
  fi
done
if ! command -v energydiag >/dev/null; then
  complain "energydiag is not installed." "install it in an earlier step, such as: pip install ."
  missing=1
fi
if ((missing)); then
  exit 2
fi

out="${OUT:-energydiag-results}"
if [[ -e "$out" && (! -d "$out" || -n "$(ls -A "$out")") ]]; then
  complain "OUT is no empty folder: $out" "remove it, or set OUT to another folder."
  exit 2
fi
mkdir -p "$out"

model=()
for name in MODEL HEAD NHEAD SIGN TAU; do
  if [[ -n "${!name:-}" ]]; then
    option="$(printf '%s' "$name" | tr '[:upper:]' '[:lower:]')"
    model+=("--$option=${!name}")
  fi
done

# run NAME ARGUMENTS...: the program's own exit code, its result as text, Markdown, JUnit and JSON
run() {
  local name="$1" code=0
  shift
  energydiag "$@" ${model[@]+"${model[@]}"} --quiet --format text \
    --format "md=$out/$name.md" --format "junit=$out/$name.xml" --format "json=$out/$name.json" || code=$?
  if [[ -n "${GITHUB_STEP_SUMMARY:-}" && -f "$out/$name.md" ]]; then
    cat -- "$out/$name.md" >>"$GITHUB_STEP_SUMMARY"
  fi
  return "$code"
}

inspected=0
run diagnosis inspect checkpoint "$CHECKPOINT" --batch "$BATCH" --fail-on "${FAIL_ON:-critical}" \
  ${LIMIT:+--limit "$LIMIT"} || inspected=$?
if ((inspected > 1)); then
  exit "$inspected"
fi

repaired=0
run repair fix-and-retrain "$CHECKPOINT" --batch "$BATCH" --train-batch "$TRAIN_BATCH" \
  --steps "${STEPS:-200}" --out "$out/repair" || repaired=$?
if ((repaired > 1)); then
  exit "$repaired"
fi
exit $((inspected || repaired))
