# SPDX-License-Identifier: Apache-2.0
"""Settings of the site that `make docs` builds from the repository's own pages.

The source folder is the root of the repository, so that links from docs/ to README.md, models/ and
config/ are those that GitHub shows. docs/build_docs.md describes what is generated.
"""

import importlib.util
import shutil
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))

project = "Planning to Practice"
author = copyright = "PTP maintainers"
release = version = ET.parse(ROOT / "src/ptp_core/package.xml").getroot().findtext("version")

extensions = ["myst_nb", "sphinx.ext.autodoc", "plain_docstrings", "reference_pages"]
root_doc = "docs/index"
include_patterns = [
    *("README.md", "SECURITY.md", "CONTRIBUTING.md"),
    *("docs/**", "models/README.md", "src/*/README.md"),
    *("plugins/README.md", "plugins/*/README.md"),
]
exclude_patterns = [
    *(".*", "build", "config", "data", "docker", "install", "launch", "log", "out"),
    *("runs", "test", "tools", "src/*/*/**", "docs/site"),
]
default_role = "py:obj"  # docstrings put names into single backticks

# Pages.
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 1800  # s, a cell; on a busy machine
nb_merge_streams = True

# The API reference, one page a folder of modules (docs/reference_pages.py).
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False  # those of torch and rclpy
autodoc_mock_imports = [
    name
    for name in (
        *("av", "foxglove", "pyarrow", "ray", "rerun", "transformers"),
        *("cv_bridge", "launch", "launch_ros", "tf2_ros"),
    )
    # The repository's own folder launch/ looks like an empty package.
    if getattr(importlib.util.find_spec(name), "origin", None) is None
]
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = f"Planning to Practice {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_extra_path = ["site"]  # the page that leads from the top to docs/index.html
html_copy_source = False

# Addresses of one machine, and of no machine.
linkcheck_ignore = [r"http://(localhost|127\.0\.0\.1)", r"https?://[\w.-]+\.example"]
linkcheck_anchors = False


def setup(app):
    """Copy the numbers beside the page of results, which links them and which Sphinx copies."""

    def copy(app, error):
        for page in Path(app.outdir, "_downloads").glob("*/index.html"):
            for numbers in (ROOT / "docs" / "results").glob("*.csv"):
                shutil.copy(numbers, page.parent)

    app.connect("build-finished", copy)
