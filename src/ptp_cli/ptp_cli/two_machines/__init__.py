# SPDX-License-Identifier: Apache-2.0
"""`ptp two-machines`: what happens to practice when the learner is far away."""
