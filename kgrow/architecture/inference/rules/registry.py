"""Which rule an operation falls under."""

RULES = {}


def rule(*names):
    """Registers a rule: a function of the tracer, the values that go in, the
    shapes of the results and the operation's parameters."""

    def register(function):
        for name in names:
            RULES[name] = function
        return function

    return register
