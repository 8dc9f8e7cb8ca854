# SPDX-License-Identifier: Apache-2.0
"""Registers the decoders with rosetta, which imports this module for that."""

from rosetta.frames.codecs import register_decoder

from rosetta_codecs_ptp import decoders

for kind, decoder in (
    ("Observation", decoders.observation),
    ("ArmState", decoders.arm_state),
    ("StepRecord", decoders.step_record),
):
    register_decoder(f"ptp_interfaces/msg/{kind}", dtype="float32", requires_select=True)(decoder)
