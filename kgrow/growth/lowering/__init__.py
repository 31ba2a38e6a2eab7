"""Training steps lowered and compiled on shapes: no weight, no device needed.

`stage_model()` makes the model of a later stage without values,
`lower_train_step()` and `lower_operator_step()` lower its steps, and what they
give compiles itself and reports what the compiler says. On JAX.
"""

from kgrow.growth.lowering.abstract_model import stage_model
from kgrow.growth.lowering.compiled_step import CompiledStep, LoweredStep
from kgrow.growth.lowering.operator_step import lower_operator_step
from kgrow.growth.lowering.step_report import StepReport
from kgrow.growth.lowering.train_step import lower_train_step

__all__ = [
    "CompiledStep",
    "LoweredStep",
    "StepReport",
    "lower_operator_step",
    "lower_train_step",
    "stage_model",
]
