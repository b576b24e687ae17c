#!/bin/sh
# Print a Python that the book runs on, or say why there is none.
# With an argument (a name such as python3.12, or a path) that one alone is tried.
check='import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'
for python in ${1:-python3.13 python3.12 python3.11 python3 python}; do
    if "$python" -c "$check" 2>/dev/null; then
        echo "$python"
        exit 0
    fi
done
cat >&2 <<MESSAGE
No Python that fits was found. The book needs Python 3.11, 3.12 or 3.13 with the modules venv and
ensurepip (on Debian and Ubuntu they come with the package python3-venv).
Looked for: ${1:-python3.13, python3.12, python3.11, python3, python}.
If yours has another name:  make book PYTHON=/path/to/python3.12
MESSAGE
exit 1
