#!/usr/bin/env bash
# MyST-NB prints nothing for a NumPy number that is glued and formatted
# Harms: page
# Call: glue("auc", np.float64(0.9433)), then the role glue:text of auc:.2f
# Expected: 0.94.
# Effect: a sentence of the book loses its number, and the build only warns.
# Instead: use glue("auc", float(value)).
# xaifake: no, it glues nothing: tests/test_known_traps.py::test_no_chapter_glues
source "$(dirname "$0")/environment.bash" myst-nb==1.4.0 numpy==2.4.6 sphinx==8.2.3 ipykernel==7.1.0
mkdir book
cat > book/conf.py <<'PYTHON'
extensions = ["myst_nb"]
PYTHON
cat > book/index.md <<'MARKDOWN'
---
file_format: mystnb
kernelspec: {name: python3}
---
# Page
```{code-cell}
import numpy as np
from myst_nb import glue
glue("numpy", np.float64(0.9433))
glue("python", 0.9433)
```
Of NumPy ({glue:text}`numpy:.2f`), of Python ({glue:text}`python:.2f`).
MARKDOWN
python -m sphinx -q -b text book built 2> warnings.txt || true
sentence=$(grep "Of NumPy" built/index.txt)
echo "myst-nb $(pip show myst-nb 2>/dev/null | sed -n 's/^Version: //p')"
echo "built: $sentence"
grep -o "Failed to format.*" warnings.txt | head -1 | cut -c1-120 || true
[ "$sentence" = "Of NumPy (), of Python (0.94)." ] || { echo "the behaviour has changed"; exit 1; }
echo "The number of NumPy is missing from the sentence, that of Python is there."
