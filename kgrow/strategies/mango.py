"""Mango: one tensor-ring operator for all matrices of a network."""

import dataclasses
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from kgrow.axes import CONSUME, PRODUCE
from kgrow.errors import GrowthError
from kgrow.expansion import Dense, Expansion
from kgrow.laws import Claim
from kgrow.mixing import Mixing
from kgrow.plan import Plan
from kgrow.strategies.depth import Stack
from kgrow.strategies.learned import Learned
from kgrow.strategies.lemon import LEMON
from kgrow.strategies.net2net import uneven_shares
from kgrow.strategies.registry import register
from kgrow.strategies.strategy import random_generator
from kgrow.term import Term

CORES = ("modules", "out", "layers", "in")


@register("mango")
@keras.saving.register_keras_serializable("kgrow")
class Mango(Learned):
    """All matrices of a stack grow by one multi-linear map, which is learned.

    **The tensor.** With a stream of `D` values, every kernel of a block is cut
    into slices of `D x D`: queries, keys, values and the output projection are
    one each, a feedforward network of `k D` units has `k` in its first layer
    and `k` in its second, cut along the units. `B` slices in `L` blocks make
    up `M1[b, i, o, l]`, read `i`, written `o`.

    **The operator.** A full linear map to `M2[b, i, o, l]` of the large
    network would have as many entries as both tensors multiplied. Written as a
    ring of four cores, each with one index before and after and two small
    ranks,

        S_B[r1, b, b', r2]    modules        S_O[r2, o, o', r3]    out
        S_L[r3, l, l', r4]    layers         S_I[r4, i, i', r1]    in

    it is `M2[b', i', o', l'] = sum S_B S_O S_L S_I M1[b, i, o, l]`, summed
    over `b, i, o, l` and the four ranks; the last rank meets the first. With
    all ranks one this is a width matrix for all outputs, one for all inputs,
    a matrix of depth weights, and a mixing of modules. A ring of rank `R` adds
    `R^4` such products that share their factors. It is applied from small to
    large: modules and layers are mixed on the small tensors, then outputs,
    then inputs are widened.

    **What is no matrix.** Embeddings, biases and norms lie outside the ring;
    the paper does not say what becomes of them. Here they follow the cores'
    first component: what is produced grows by `S_O[0, :, :, 0]`, what is read
    by `S_I[0, :, :, 0]`, gains by the weights of the former averaged, biases
    of a feedforward network slice by slice, and blocks by `S_L[0, :, :, 0]`.
    The optimizer's moments of all variables go by the dual of these.

    **The start.** The first component is a growth that keeps the function at
    whole multiples: `S_O` copies circularly, `S_I` divides by uneven shares,
    `S_B` is the identity, `S_L` stacks. As copies of whole heads are
    contiguous in `o`, it serves queries, keys and values too. Noise on all
    cores parts copies, and gives the components beyond the first, which are
    products of noise, a gradient. How the authors start is published nowhere.

    The shape has a price: heads times their size must be the stream's width,
    and the feedforward network the same multiple of it before and after.

    Args:
        rank: int, the four ranks of the ring; or a tuple of four, `(r1, r2,
            r3, r4)`.
        noise: float, standard deviation of the noise on the cores, relative
            to a root mean square entry of each.
        steps, learning_rate, optimizer, batch_size, tune_small, patience,
            callbacks, verbose: see `Learned`. The paper's rate for BERT and
            GPT is 1e-5, with which a hundred steps move an entry by 1e-3.

    Example:

    >>> Mango(rank=2, steps=50).rank
    (2, 2, 2, 2)

    Reference:

    - Pan et al., "Reusing Pretrained Models by Multi-linear Operators for
      Efficient Training" (2310.10699), Sec. 3 and App. A. No code was
      published.
    """

    default_rate = 1e-3

    def __init__(self, rank=1, noise=0.01, **kwargs):
        super().__init__(**kwargs)
        ranks = rank if isinstance(rank, (tuple, list)) else (rank,) * 4
        if len(ranks) != 4 or not all(
            isinstance(r, int) and not isinstance(r, bool) and r >= 1
            for r in ranks
        ):
            raise GrowthError(
                "`rank` is an integer of at least 1, or four of them, one for "
                f"each joint of the ring. Received: rank={rank!r}"
            )
        if not isinstance(noise, (int, float)) or noise < 0:
            raise GrowthError(
                f"`noise` is a number of at least 0. Received: noise={noise!r}"
            )
        self.rank = tuple(ranks)
        self.noise_ratio = float(noise)

    def operator(self, source, target, seed, dtype="float64"):
        base = _Base().plan(source, target, seed)
        layouts = {
            name: found
            for name in target.stacks
            if (found := _layout(name, source, target)) is not None
        }
        parameters = {}
        for name, layout in layouts.items():
            rng = random_generator(seed, name)
            for core, values in layout.start(rng).items():
                ring = self._ring(values, core, rng)
                parameters[f"{name}/{core}"] = ring.astype(dtype)

        def make_plan(parameters):
            cores = {
                name: {c: parameters[f"{name}/{c}"] for c in CORES}
                for name in layouts
            }
            return _plan(base, layouts, cores)

        return parameters, make_plan

    def _ring(self, values, core, rng):
        """A core: `values` in its first component, and noise in all."""
        joint = CORES.index(core)
        before, after = self.rank[joint], self.rank[(joint + 1) % 4]
        ring = np.zeros((before, *values.shape, after))
        ring[0, :, :, 0] = values
        size = np.sqrt((values**2).mean())
        return ring + rng.standard_normal(ring.shape) * size * self.noise_ratio

    def claims(self, plan):
        if not isinstance(plan, RingPlan):
            return super().claims(plan)
        reason = "all matrices are mixed by a learned operator"
        return [Claim(name, False, reason) for name in plan.grown]

    def __repr__(self):
        return f"Mango(rank={self.rank!r}, steps={self.steps})"

    def get_config(self):
        return {
            "rank": list(self.rank),
            "noise": self.noise_ratio,
            **super().get_config(),
        }


class _Base(LEMON):
    """What does not belong to the ring before anything is learned: tables are
    padded, blocks are stacked."""

    def mix(self, stack, source, target, rng):
        return Stack().mix(stack, source, target, rng)


@dataclass(frozen=True, eq=False)
class RingPlan(Plan):
    """A plan whose stacks' matrices grow by rings; the rest as in any plan.

    Args:
        rings: tuple of `Ring`s.
    """

    rings: tuple = ()

    def apply(self, values):
        grown = {}
        for ring in self.rings:
            grown.update(ring.grow(values))
        return {
            path: self._rescale(grown[path], variable)
            if path in grown
            else super(RingPlan, self).grow(path, values)
            for path, variable in self.target.variables.items()
        }

    def grow(self, path, values, fill=None):
        for ring in self.rings:
            if path in ring.layout.paths:
                grown = ring.grow(values, keep=True)[path]
                return self._rescale(grown, self.target.variables[path])
        return super().grow(path, values, fill)

    def reads(self, path):
        for ring in self.rings:
            if path in ring.layout.paths:
                return ring.layout.sources(path)
        return super().reads(path)

    def keeps(self, path):
        rings = any(path in ring.layout.paths for ring in self.rings)
        return not rings and super().keeps(path)

    def dual(self, degree=1):
        return self.without_rings.dual(degree)

    def first_only(self):
        return self.without_rings.first_only()

    def without_axis(self, axis):
        return self.without_rings.without_axis(axis)

    @property
    def without_rings(self):
        fields = dataclasses.fields(Plan)
        return Plan(**{f.name: getattr(self, f.name) for f in fields})


@dataclass(frozen=True, eq=False)
class _Layout:
    """How the kernels of a stack are cut into slices.

    Attributes:
        source, target: `ModelSpec`s.
        stack: string.
        stream: string, the dimension whose size is that of a slice.
        modules: list of `(template, slices, whether cut along what is read)`.
    """

    source: object
    target: object
    stack: str
    stream: str
    modules: list

    @property
    def sizes(self):
        return self.source.sizes[self.stream], self.target.sizes[self.stream]

    @property
    def depths(self):
        return self.source.depths[self.stack], self.target.depths[self.stack]

    @property
    def paths(self):
        return {
            self._path(template, block)
            for template, _, _ in self.modules
            for block in range(self.depths[1])
        }

    def sources(self, path):
        """All paths that a kernel is mixed from, its namesake first."""
        variable = self.target.variables[path]
        old = self.depths[0]
        templates = [variable.template]
        templates += [t for t, _, _ in self.modules if t != templates[0]]
        first = variable.block % old
        blocks = [first, *(b for b in range(old) if b != first)]
        return [self._path(t, b) for t in templates for b in blocks]

    def start(self, rng):
        """The first component of each core."""
        (n, m), (old, new) = self.sizes, self.depths
        copies = np.arange(m) % n
        shares = uneven_shares(n, copies, rng)
        produce = np.zeros((n, m))
        produce[copies, np.arange(m)] = 1.0
        layers = np.zeros((old, new))
        layers[np.arange(new) % old, np.arange(new)] = 1.0
        return {
            "modules": np.eye(sum(count for _, count, _ in self.modules)),
            "out": produce,
            "layers": layers,
            "in": produce * shares,
        }

    def stacked(self, values):
        """`M1[b, l, i, o]`."""
        n, blocks = self.sizes[0], []
        for block in range(self.depths[0]):
            slices = []
            for template, count, reads in self.modules:
                value = values[self._path(template, block)]
                shape = (count, n, n) if reads else (n, count, n)
                value = ops.reshape(value, shape)
                slices.append(value if reads else ops.swapaxes(value, 0, 1))
            blocks.append(ops.concatenate(slices))
        return ops.stack(blocks, axis=1)

    def unstacked(self, grown):
        """The kernels of `M2[b, l, i, o]`, by path."""
        found = {}
        for block in range(self.depths[1]):
            start = 0
            for template, count, reads in self.modules:
                value = grown[start : start + count, block]
                start += count
                value = value if reads else ops.swapaxes(value, 0, 1)
                path = self._path(template, block)
                shape = self.target.variables[path].shape
                found[path] = ops.reshape(value, shape)
        return found

    def _path(self, template, block):
        return template.replace(f"{{{self.stack}}}", str(block))


class Ring:
    """The four cores of one stack, and what they make of its kernels."""

    def __init__(self, layout, cores):
        self.layout = layout
        self.cores = cores
        self._kept = None, None

    def grow(self, values, keep=False):
        """Grows all kernels at once: `{path: tensor or array}`.

        Args:
            values: dict from paths to arrays or tensors.
            keep: bool, whether to keep the result for the next call with the
                same values.
        """
        if self._kept[0] is values:
            return self._kept[1]
        first = values[self.layout.sources(next(iter(self.layout.paths)))[0]]
        host = isinstance(first, np.ndarray)
        cores = [
            ops.cast(ops.convert_to_tensor(self.cores[c]), first.dtype)
            for c in CORES
        ]
        grown = self.layout.unstacked(
            _apply(*cores, self.layout.stacked(values))
        )
        if host:
            grown = {
                path: np.asarray(ops.convert_to_numpy(value))
                for path, value in grown.items()
            }
        if keep:
            self._kept = values, grown
        return grown


def _apply(modules, out, layers, reads, tensor):
    """The ring's sum, from small to large."""
    mixed = ops.einsum("abcd,blij->acdlij", modules, tensor)
    mixed = ops.einsum("acdlij,elmf->acdemfij", mixed, layers)
    wide = ops.einsum("acdemfij,djke->acmfik", mixed, out)
    return ops.einsum("acmfik,fina->cmnk", wide, reads)


def _plan(base, layouts, cores):
    """The plan of given cores, arrays or tensors."""
    if not layouts:
        return base
    (term,) = base.terms
    widths, depths, rings = dict(term.widths), dict(term.depths), []
    for name, layout in layouts.items():
        rings.append(Ring(layout, cores[name]))
        produce = _transposed(cores[name]["out"])
        consume = _transposed(cores[name]["in"])
        e = Expansion(Dense(produce), Dense(consume))
        widths[layout.stream] = e
        blocks = layout.depths[1]
        for key, slices in _inner_dims(layout).items():
            inner = e
            if slices > 1:
                inner = Expansion(
                    Dense(_repeated(produce, slices)),
                    Dense(_repeated(consume, slices)),
                )
            widths[key] = (inner,) * blocks
        rows = Dense(_transposed(cores[name]["layers"]))
        depths[name] = Mixing(rows)
    fields = {f.name: getattr(base, f.name) for f in dataclasses.fields(base)}
    fields["terms"] = (Term(widths, depths),)
    return RingPlan(**fields, rings=tuple(rings))


def _transposed(core):
    """The first component of a core as a matrix `(new, old)`."""
    first = core[0, :, :, 0]
    return first.T if isinstance(first, np.ndarray) else ops.transpose(first)


def _repeated(matrix, times):
    """A block-diagonal matrix of equal blocks."""
    m, n = matrix.shape
    shape = (times * m, times * n)
    if isinstance(matrix, np.ndarray):
        return np.kron(np.eye(times), matrix).reshape(shape)
    eye = ops.cast(ops.eye(times), matrix.dtype)
    return ops.reshape(ops.einsum("st,ij->sitj", eye, matrix), shape)


def _inner_dims(layout):
    """`{dim, or product of dims: slices}` of what lies inside a block."""
    spec, found = layout.target, {}
    for template, slices, _ in layout.modules:
        axes = spec.variables[layout._path(template, 0)].axes
        for side in _sides(axes, layout.stream):
            if side == (layout.stream,):
                continue
            found[side if len(side) > 1 else side[0]] = slices
    return found


def _sides(axes, stream):
    """The dims on the two sides of a kernel: around the stream."""
    names = [(d, axis.role) for axis in axes for d in (axis.factors or ("_",))]
    at = [i for i, (d, _) in enumerate(names) if d == stream]
    if len(at) != 1 or at[0] not in (0, len(names) - 1):
        return None
    reads = names[:1] if at[0] == 0 else names[:-1]
    writes = names[len(reads) :]

    def key(side):
        role = side[0][1]
        return tuple(d if r == role else f"~{d}" for d, r in side)

    return key(reads), key(writes)


def _layout(stack, source, target):
    """How a stack's kernels are cut, or `None` if nothing of it grows."""
    kernels = [
        v
        for v in target.variables.values()
        if v.stack == stack and v.block == 0 and _is_kernel(v)
    ]
    if not kernels or not source.depths[stack]:
        return None
    streams = [
        d
        for d in kernels[0].axes.dims
        if target.stack_of(d) is None and all(d in v.axes.dims for v in kernels)
    ]
    inner = {d for v in kernels for d in v.axes.dims}
    grows = source.depths[stack] != target.depths[stack] or any(
        source.sizes[d] != target.sizes[d] for d in inner
    )
    if not grows:
        return None
    if len(streams) != 1:
        raise GrowthError(
            "'mango' cuts the kernels of a stack into squares of the stream's "
            f"width, and those of {stack!r} have no one dimension in common. "
            f"Received: {[str(v.axes) for v in kernels]}. Use 'ligo'."
        )
    (stream,) = streams
    modules = []
    for kernel in kernels:
        sides = _sides(kernel.axes, stream)
        counts = [
            _slices(kernel, sides, stream, spec) for spec in (source, target)
        ]
        if sides is None or counts[0] is None or counts[0] != counts[1]:
            sizes = [
                {d: spec.sizes[d] for d in kernel.axes.dims}
                for spec in (source, target)
            ]
            raise GrowthError(
                "'mango' cuts kernels into squares of the stream's width: "
                "heads times their size must be that width, and the "
                "feedforward network the same multiple of it before and "
                f"after. Received: {kernel.template!r} with the sizes "
                f"{sizes[0]}, then {sizes[1]}. Choose such sizes, or 'ligo', "
                "which has no such bounds."
            )
        modules.append((kernel.template, counts[0], sides[1] == (stream,)))
    return _Layout(source, target, stack, stream, modules)


def _is_kernel(variable):
    roles = [axis.role for axis in variable.axes for _ in axis.dims]
    axes = variable.axes
    return (
        not (axes.gain or axes.shift)
        and bool(roles)
        and CONSUME in roles
        and PRODUCE in roles
        and roles[0] == CONSUME
    )


def _slices(kernel, sides, stream, spec):
    """Into how many squares a kernel is cut, or `None`."""
    if sides is None:
        return None
    width = spec.sizes[stream]
    inner = sides[1] if sides[0] == (stream,) else sides[0]
    size = int(np.prod([spec.sizes.get(d.strip("~"), 0) for d in inner]))
    return size // width if size and size % width == 0 else None
