# Sourced by each script with the packages that it pins: `python` is then one of an environment that
# has these alone, in a temporary folder that is left with the script. With FINDINGS_ENVIRONMENTS,
# scripts with equal pins share an environment in that folder; with FINDINGS_PICTURES, a picture.png
# of the script is kept there under the script's name. Of a script that keeps what a noisy library
# says on stderr in errors.txt, the last line is shown if it fails. draw.py lies where it runs.
set -euo pipefail
unset PYTHONPATH
folder=$(mktemp -d)
finish() {
    if [ $? -ne 0 ] && [ -e "$folder/errors.txt" ]; then tail -n 1 "$folder/errors.txt" >&2; fi
    if [ -n "${FINDINGS_PICTURES:-}" ] && [ -e "$folder/picture.png" ]; then
        cp "$folder/picture.png" "$FINDINGS_PICTURES/$(basename "$0" .sh).png"
    fi
    rm -rf "$folder"
}
trap finish EXIT
environment=${FINDINGS_ENVIRONMENTS:-$folder}/$(echo "$@" | md5sum | cut -c1-12)
if [ ! -e "$environment/complete" ]; then
    python3 -m venv --clear "$environment"
    "$environment/bin/pip" install -qq --no-compile --disable-pip-version-check "$@"
    touch "$environment/complete"
fi
export PATH="$environment/bin:$PATH" PYTHONNOUSERSITE=1 TF_CPP_MIN_LOG_LEVEL=3
cp "$(dirname "${BASH_SOURCE[0]}")/draw.py" "$folder"
cd "$folder"
