# SPDX-License-Identifier: Apache-2.0
"""What `ptp sweep` is made of."""
