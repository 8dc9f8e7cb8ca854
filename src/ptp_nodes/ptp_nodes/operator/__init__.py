# SPDX-License-Identifier: Apache-2.0
"""What a person uses: questions, keys and buttons, goals as files, images and videos."""
