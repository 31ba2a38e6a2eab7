"""Numbers as people read them."""


def bytes_text(count):
    """Bytes with a binary unit.

    Example:

    >>> bytes_text(3 * 2**20), bytes_text(700)
    ('3.0 MiB', '700 B')
    """
    for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if count >= 2**power:
            return f"{count / 2**power:,.1f} {unit}"
    return f"{count:,.0f} B"


def flops_text(count):
    """FLOPs with a decimal unit.

    Example:

    >>> flops_text(2_500_000_000), flops_text(12)
    ('2.50 GFLOP', '12 FLOP')
    """
    for power, unit in ((15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if count >= 10**power:
            return f"{count / 10**power:,.2f} {unit}FLOP"
    return f"{count:,.0f} FLOP"


def seconds_text(seconds):
    """A time with two figures.

    Example:

    >>> seconds_text(0.0123), seconds_text(0.138), seconds_text(95)
    ('12 ms', '140 ms', '1.6 min')
    """
    for size, unit in ((3600, "h"), (60, "min"), (1, "s")):
        if seconds >= size:
            return f"{_two_figures(seconds / size)} {unit}"
    return f"{_two_figures(seconds * 1000)} ms"


def _two_figures(number):
    return f"{float(f'{number:.2g}'):g}"
