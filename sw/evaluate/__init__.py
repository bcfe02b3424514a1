"""The accuracy of real networks, measured through compiled programs beside float64."""

from .antibodies import evaluate_sapiens
from .characters import evaluate_characters
from .digits import evaluate_digits
from .evaluation import Evaluation, Figure, table
from .sentences import evaluate_lee, evaluate_polarity

__all__ = ["Evaluation", "Figure", "evaluate_characters", "evaluate_digits", "evaluate_lee",
           "evaluate_polarity", "evaluate_sapiens", "table"]
