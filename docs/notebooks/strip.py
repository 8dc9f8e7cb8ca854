# SPDX-License-Identifier: Apache-2.0
"""Remove what running left in the notebooks of this folder: `python docs/notebooks/strip.py`."""

import json
from pathlib import Path


def stripped(text: str) -> str:
    """The notebook without output, counters and metadata of the machine that ran it."""
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        cell["metadata"] = {}
        if cell["cell_type"] == "code":
            cell |= {"execution_count": None, "outputs": []}
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook["metadata"] = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for path in sorted(Path(__file__).parent.glob("*.ipynb")):
        path.write_text(stripped(path.read_text(encoding="utf-8")), encoding="utf-8")
