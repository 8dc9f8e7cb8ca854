# SPDX-License-Identifier: Apache-2.0
"""Settings of the site that `make docs` builds from the repository's own pages.

The source folder is the root of the repository, so links from docs/ to README.md, models/ and config/ stay as
GitHub shows them. docs/build_docs.md says what is generated.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(Path(__file__).resolve().parent))

project = "Planning to Practice"
author = "PTP maintainers"
copyright = "2026, PTP maintainers"
release = version = "0.2.0"

extensions = [
    "myst_nb",
    "autoapi.extension",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
root_doc = "docs/index"
include_patterns = [
    "README.md",
    "SECURITY.md",
    "CONTRIBUTING.md",
    "docs/**",
    "models/README.md",
    "src/*/README.md",
]
exclude_patterns = [".*", "build", "install", "log", "out", "data", "runs", "config", "test", "src/*/*/**"]

html_theme = "furo"
html_title = f"Planning to Practice {release}"

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
nb_execution_mode = "off"

autoapi_dirs = sorted(str(path.parent) for path in ROOT.glob("src/*/*/__init__.py"))
autoapi_root = "docs/generated/api"
autoapi_options = ["members", "undoc-members", "show-inheritance", "show-module-summary"]
autoapi_add_toctree_entry = False
