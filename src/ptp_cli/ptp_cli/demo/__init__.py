# SPDX-License-Identifier: Apache-2.0
"""What `ptp demo` leaves behind: films, strips and the page that shows them."""
