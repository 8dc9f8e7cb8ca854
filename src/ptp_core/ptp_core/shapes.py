# SPDX-License-Identifier: Apache-2.0
"""Sizes that every part of the method agrees on (method notes, sections 1 and 4)."""

IMAGE_SIZE = 48  # pixels; images are uint8 (48, 48, 3) RGB
GRID = 12  # the encoder's output grid is 12 x 12
CODE_LENGTH = GRID * GRID  # 144 code indices an image, row-major
EMBEDDING_DIM = 5  # numbers a code
LATENT_DIM = EMBEDDING_DIM * CODE_LENGTH  # 720, channel-first (5, 12, 12) flattened
ACTION_DIM = 5  # dx, dy, dz, dyaw, gripper, each in [-1, 1]
