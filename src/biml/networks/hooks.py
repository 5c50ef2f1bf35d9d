"""Hooks: read and change what a network computes, by names such as `decoder.1.cross_heads`.

A layer has, in the order of the data flow,

    attention         weights of self-attention, [row, head, token, key]
    heads             what each head passes on, before the output matrix, [row, head, token, size]
    cross_attention   the same two of attention to the study examples
    cross_heads
    mlp               what the feed-forward part adds, [row, token, emb]
    output            the residual stream behind the layer, [row, token, emb]

and a part of the network (`encoder`, `decoder`, …) has the `embedding` of its tokens. A row is a
query; in the encoder of the staged network it is an episode. While a response is decoded, hooks of
the decoder get one token at a time.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn

from biml.arguments import python_api
from biml.errors import UsageError
from biml.networks.batching import RaggedRows

Hook = Callable[[Tensor, range], Tensor | None]
"""(values, positions of their tokens) -> values in their place; None leaves them as they are."""

FindHooks = Callable[[str], Sequence[Hook]]
"""The hooks of a name."""

_ACTIVE: ContextVar[Mapping[nn.Module, tuple[FindHooks, ...]]]
_ACTIVE = ContextVar("active", default=MappingProxyType({}))


class HookPoints:
    """The activations of a part or a layer of a network, at each of which hooks may act.

    Args:
        rows: of packed tokens, which hooks get padded.
        start: position of the first token.
    """

    def __init__(
        self,
        name: str,
        find: Sequence[FindHooks] = (),
        rows: RaggedRows | None = None,
        start: int = 0,
    ) -> None:
        self.name, self.find, self.rows, self.start = name, find, rows, start

    def layer(self, number: int) -> "HookPoints":
        if not self.find:  # once for each layer of each decoding step: costs nothing
            return self
        return HookPoints(f"{self.name}.{number}", self.find, self.rows, self.start)

    def hooks(self, name: str) -> list[Hook]:
        return [hook for find in self.find for hook in find(f"{self.name}.{name}")]

    def __call__(self, name: str, x: Tensor) -> Tensor:
        """The values that the network goes on with."""
        if not self.find:
            return x
        rows = self.rows if x.ndim == 2 else None
        for hook in self.hooks(name):
            value = rows.to_padded(x) if rows else x
            new = hook(value.clone(), range(self.start, self.start + value.shape[-2]))
            if new is not None:
                new = torch.as_tensor(new)
                if new.shape != value.shape:
                    wanted, given = [*value.shape], [*new.shape]
                    raise UsageError(
                        f"the hook of {self.name}.{name} returned values of shape {given} in the "
                        f"place of {wanted}"
                    )
                new = new.to(x)
                x = rows.to_packed(new) if rows else new
        return x


NO_HOOKS = HookPoints("")


def active_hooks(network: nn.Module) -> tuple[FindHooks, ...]:
    return _ACTIVE.get().get(network, ())


@contextmanager
def use_hooks(network: nn.Module, find: FindHooks) -> Iterator[None]:
    """Let these hooks act in a network, in this thread, behind those that act already."""
    token = _ACTIVE.set({**_ACTIVE.get(), network: (*active_hooks(network), find)})
    try:
        yield
    finally:
        _ACTIVE.reset(token)


def by_name(hooks: Mapping[str, Hook], known: Sequence[str]) -> FindHooks:
    """Hooks by name; `*` in a name stands for anything, so `decoder.*.heads` is of all layers.

    Raises:
        UsageError: a name is none of `known`, and no pattern of some.
    """
    found: dict[str, list[Hook]] = {}
    for pattern, hook in hooks.items():
        if not callable(hook):
            raise UsageError(f"the hook of {pattern!r} is not a function: {hook!r}")
        names = [name for name in known if fnmatchcase(name, pattern)]
        if not names:
            raise unknown_activation(pattern, known)
        for name in names:
            found.setdefault(name, []).append(hook)
    return lambda name: found.get(name, ())


def check_reached(hooks: Mapping[str, Hook]) -> None:
    """Raise a UsageError for positions of patches that nothing had to which they applied.

    Those of a decoder may lie behind the end of a response.
    """
    for pattern, hook in hooks.items():
        if isinstance(hook, Patch) and not pattern.startswith("decoder") and hook.unreached:
            raise UsageError(
                f"the hook of {pattern!r} is for positions {hook.unreached}, but all tokens are at "
                f"0 to {max(hook.tokens)}"
            )


def unknown_activation(name: str, known: Sequence[str]) -> UsageError:
    close = get_close_matches(name, known, 3, 0.4)
    hint = f"; did you mean {' or '.join(close)}? `" if close else "; `"
    return UsageError(f"the network has no activation {name!r}{hint}trace_names` lists all")


# --- hooks


@dataclass(frozen=True)
class Patch:
    """What `patch` and `ablate` make."""

    values: Tensor
    positions: Sequence[int] | None
    heads: Sequence[int] | None
    tokens: set[int] = field(default_factory=set, compare=False, repr=False)

    def _positions(self, tokens: range) -> Sequence[int]:
        if self.positions is not None:
            return self.positions
        return range(self.values.shape[-2]) if self.values.ndim else tokens

    @property
    def unreached(self) -> list[int]:
        """Positions that nothing computed so far had."""
        return [i for i in self._positions(range(0)) if self.tokens and i not in self.tokens]

    def __call__(self, x: Tensor, tokens: range) -> Tensor:
        heads, values = self.heads, self.values
        self.tokens.update(tokens)
        if heads is not None and x.ndim < 4:
            raise UsageError("`heads` is for activations that have heads, such as decoder.0.heads")
        if heads is not None and max(heads, default=0) >= x.shape[1]:
            raise UsageError(f"heads are {[*heads]}, but there are {x.shape[1]}, counted from 0")
        by_head = x if heads is None else x[:, heads]
        for i, position in enumerate(self._positions(tokens)):
            if position in tokens:
                value = (values[..., i, :] if values.ndim else values).to(x)
                # Attention to tokens that are not decoded yet is 0.
                value = value[..., : x.shape[-1]] if value.ndim else value
                try:
                    by_head[..., position - tokens.start, :] = value
                except RuntimeError:
                    shapes = f"{[*values.shape]} in the place of {[*by_head.shape[1:]]}"
                    raise UsageError(f"values of another shape: {shapes}") from None
        if heads is not None:
            x[:, heads] = by_head
        return x


@python_api
def patch(
    values: float | np.ndarray | Tensor,
    *,
    positions: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
) -> Hook:
    """A hook that puts values, such as those of another trace, in the place of a network's own.

    Args:
        values: one number; or [token, emb], or [head, token, …], of one row, for every row. Tokens
            are those at `positions` (by default the first ones), heads those of `heads` (all).
    """
    new = torch.as_tensor(values)
    if not torch.isfinite(new).all():
        raise UsageError("values have infinite or undefined numbers")
    for name, numbers in (("positions", positions), ("heads", heads)):
        if numbers is not None and any(number < 0 for number in numbers):
            raise UsageError(f"{name} are {[*numbers]}, but are counted from 0")
    if new.ndim and positions is not None and new.shape[-2] != len(positions):
        raise UsageError(f"{new.shape[-2]} tokens are given for {len(positions)} positions")

    return Patch(new, positions, heads)


@python_api
def ablate(*, positions: Sequence[int] | None = None, heads: Sequence[int] | None = None) -> Hook:
    """A hook that sets activations to 0."""
    return patch(0.0, positions=positions, heads=heads)
