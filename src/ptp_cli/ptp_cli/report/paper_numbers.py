# SPDX-License-Identifier: Apache-2.0
"""Success rates of the paper (arXiv 2205.08129, figure 3), and labels of the methods."""

# Success rate of PTP on each target task: after offline training, after 150 epochs online.
OFFLINE = {"A": 0.533, "B": 0.221, "C": 0.355}
ONLINE = {"A": 0.849, "B": 0.599, "C": 0.493}
METHOD = "ptp"  # whose numbers these are
SMOOTHED = 10  # epochs: the authors' notebook plots the trailing mean of practice

LABELS = {
    "ptp": "PTP",
    "ptp_single_subgoal": "PTP's generator, one subgoal",
    "ptp_no_buffer": "PTP without plan buffer",
    "ptp_no_hierarchy": "PTP without hierarchy",
    "ptp_no_buffer_no_hierarchy": "PTP without both",
    "gcbc": "GCBC",
    "model_free": "model-free",
    "leap": "LEAP",
    "gcp": "GCP",
}


def label(method: str) -> str:
    """How a method is called for people."""
    return LABELS.get(method, method.replace("_", " "))
