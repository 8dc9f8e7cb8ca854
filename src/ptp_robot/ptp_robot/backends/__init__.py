# SPDX-License-Identifier: Apache-2.0
"""Back-ends of the arm driver, one robot interface a file, with the protocol in `backend`."""
