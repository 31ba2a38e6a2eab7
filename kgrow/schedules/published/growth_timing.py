"""When to grow, by a formula."""

import math


def growth_tokens(parameters, flops):
    """Tokens after which G_stack grows, by the authors' fit.

    log10(d) = 0.88 log10(N) + 163.27 / log10(C) - 5.74

    Args:
        parameters: number of the large model's parameters, N.
        flops: number, the FLOPs that its training is to take, C.

    Returns:
        int, d.

    Example:

    >>> growth_tokens(7e9, 6 * 7e9 * 300e9) // 10**9
    20

    Reference:

    - Du et al., "Stacking Your Transformers" (2405.15319), the section on
      when to grow. The paper's own runs grow after 10B tokens.
    """
    exponent = 0.88 * math.log10(parameters) + 163.27 / math.log10(flops) - 5.74
    return round(10**exponent)
