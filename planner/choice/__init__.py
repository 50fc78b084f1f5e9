"""The best way to run experts that do not fit a GPU, and what a wrong choice would cost."""

from planner.choice.arms import Arm, LeftOut, arms_of
from planner.choice.choose import Choice, ChosenArm, SpeedInterval, choose
from planner.choice.drafts import DraftedSpeed, Drafts, with_drafts
from planner.choice.question import ChoiceQuestion, choice_question

__all__ = [
    "Arm",
    "Choice",
    "ChoiceQuestion",
    "ChosenArm",
    "DraftedSpeed",
    "Drafts",
    "LeftOut",
    "SpeedInterval",
    "arms_of",
    "choice_question",
    "choose",
    "with_drafts",
]
