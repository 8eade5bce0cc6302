"""Reuse the keys and values of what a model read and wrote last."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from vipcli.asking.interface import Request
from vipcli.engine import compat
from vipcli.engine.compat import quick_imports

with quick_imports():
    import numpy as np
    import torch


class PrefixCache:
    """The key-value cache of the last answer, for a request that starts with the same pictures and tokens."""

    def __init__(self) -> None:
        self._pictures = ""
        self._ids = torch.empty(0, dtype=torch.long)
        self._cache: Any = None

    def apply(
        self, inputs: dict[str, torch.Tensor], pictures: str, picture_tokens: Sequence[int]
    ) -> dict[str, Any]:
        """The arguments for `generate` with the cached prefix, if it can be reused; empties this cache.

        `pictures` identifies the pictures of the request.
        """
        cache, self._cache = self._cache, None
        ids = inputs["input_ids"]
        if cache is None or pictures != self._pictures:
            return inputs
        # The last token of the prompt must be read again: its scores give the first token of the answer.
        limit = min(len(self._ids), ids.shape[1] - 1)
        differences = (self._ids[:limit] != ids[0, :limit]).nonzero()
        shared = int(differences[0, 0]) if len(differences) else limit
        # Pictures are read as a whole, so none may be in the rest.
        if any((ids[0, shared:] == token).any() for token in picture_tokens):
            return inputs
        compat.shorten_cache(cache, shared)
        return {"input_ids": ids, "attention_mask": inputs["attention_mask"], "past_key_values": cache}

    def store(self, ids: torch.Tensor, cache: Any, pictures: str) -> None:
        """Keep the cache of these tokens; the last may not have been read, since the model wrote it."""
        self._pictures, self._cache = pictures, cache
        self._ids = ids[: compat.cache_length(cache)]


def digest_pictures(request: Request) -> str:
    """A digest of the pictures of a request and of how they are fitted."""
    digest = hashlib.blake2b(f"{request.fit} {len(request.frames)}".encode())
    for picture in (*request.images, *request.frames):
        digest.update(str(picture.shape).encode())
        digest.update(np.ascontiguousarray(picture).data)
    return digest.hexdigest()
