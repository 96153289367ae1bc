#!/bin/sh
# Health check of energy heads, for any CI system: one inspection, written in every format. Needs a POSIX shell alone.
#
# Must be set:
#   CHECKPOINT  the energy head; a quoted pattern or a folder for several, which gives a table
#   BATCH       batch dump that it is measured on
# May be set:
#   FAIL_ON     never, warning or critical                        (critical)
#   INCONCLUSIVE_FAILS  true or false: whether a question that could change the verdict and has no answer fails (true)
#   OUT         folder for the results; older ones are replaced   (energydiag-results)
#   ARGS        further arguments of `energydiag inspect checkpoint`, one a line
#   CONFIG      file with defaults for options; the pyproject.toml of the checkout is not read (none)
#
# Exit code: that of energydiag. 0 fine; 1 a finding at or above FAIL_ON; 2 wrong input, or a checkpoint without a result;
# 3 it is not known whether the head is healthy, for want of samples as a rule.
set -eu

complain() {
  printf 'energydiag.sh: %s\n  next: %s\n' "$1" "$2" >&2
  exit 2
}

[ -n "${CHECKPOINT:-}" ] || complain "CHECKPOINT is not set." "export CHECKPOINT=PATH"
[ -n "${BATCH:-}" ] || complain "BATCH is not set." "export BATCH=PATH"
command -v energydiag >/dev/null || complain "energydiag is not installed." "install it in an earlier step, with pip."

case "${INCONCLUSIVE_FAILS:=true}" in
true | false) ;;
*) complain "INCONCLUSIVE_FAILS is neither true nor false." "export INCONCLUSIVE_FAILS=false, or unset it." ;;
esac

out="${OUT:-energydiag-results}"
case "$out" in
*'
'*) complain "OUT has a line break." "name a folder without one." ;;
esac
mkdir -p -- "$out"
rm -f -- "$out/result.md" "$out/result.html" "$out/result.xml" "$out/result.sarif" "$out/result.json" "$out/annotations.txt"

set -- ${CONFIG:+--config "$CONFIG"} --no-config inspect checkpoint "$CHECKPOINT" --batch "$BATCH" --fail-on "${FAIL_ON:-critical}" --quiet --format text \
  --format "md=$out/result.md" --format "html=$out/result.html" --format "junit=$out/result.xml" \
  --format "sarif=$out/result.sarif" --format "json=$out/result.json" --format "github=$out/annotations.txt"
if [ "$INCONCLUSIVE_FAILS" = true ]; then
  set -- "$@" --inconclusive-fails
fi
while IFS= read -r line; do
  if [ -n "$line" ]; then
    set -- "$@" "$line"
  fi
done <<EOF
${ARGS:-}
EOF

# GitHub's runner obeys lines that begin with "::"; what a checkpoint is called must not begin one
token=""
if [ "${GITHUB_ACTIONS:-}" = true ]; then
  token="$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')"
  printf '::stop-commands::%s\n' "$token"
fi
code=0
PYTHONSAFEPATH=1 energydiag "$@" || code=$?
if [ -n "$token" ]; then
  printf '\n::%s::\n' "$token"
  if [ -f "$out/annotations.txt" ]; then
    cat -- "$out/annotations.txt"
  fi
fi

if [ -n "${GITHUB_STEP_SUMMARY:-}" ] && [ -f "$out/result.md" ]; then
  cat -- "$out/result.md" >>"$GITHUB_STEP_SUMMARY"
fi
if [ -n "${GITHUB_OUTPUT:-}" ]; then
  printf 'exit-code=%s\n' "$code" >>"$GITHUB_OUTPUT"
  for pair in markdown:md html:html junit:xml sarif:sarif json:json; do
    if [ -f "$out/result.${pair#*:}" ]; then
      printf '%s=%s/result.%s\n' "${pair%%:*}" "$out" "${pair#*:}" >>"$GITHUB_OUTPUT"
    fi
  done
fi
exit "$code"
